from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from schemas.errors import ConfigError
from schemas.fingerprint import fingerprint
from schemas.storage.location import Location, located


def test_a_path_becomes_an_absolute_location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(Location.parse("a/b.txt")) == f"{tmp_path}/a/b.txt"
    assert Location.parse(tmp_path / "a") == located(tmp_path / "a") == Location.parse(f"file://{tmp_path}/a/")
    assert Location.parse(f"FILE://localhost{tmp_path}") == located(tmp_path)


@pytest.mark.parametrize("text", ["ftp://host/x", "hdfs://x", "S3X://bucket/x", "http://host/x"])
def test_an_unknown_scheme_is_an_error_that_names_the_known_ones(text: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown scheme \w+://.*file://.*local paths"):
        Location.parse(text)


def test_the_parts_of_a_location_are_those_of_a_path(tmp_path: Path) -> None:
    location = located(tmp_path) / "packed" / "train-0.tokens.npy"
    path = tmp_path / "packed" / "train-0.tokens.npy"
    assert (location.name, location.stem, location.suffix) == (path.name, path.stem, path.suffix)
    assert str(location.parent) == str(path.parent)
    assert str(location.with_name("x")) == str(path.with_name("x"))
    assert location.relative_to(located(tmp_path)) == "packed/train-0.tokens.npy"
    assert location.relative_to(location) == "."
    assert str(located(Path("/a")).parent) == str(located(Path("/a")).parent.parent) == "/"
    assert str(located(Path("/")) / "a") == "/a"


def test_a_folder_with_the_same_beginning_is_another_one(tmp_path: Path) -> None:
    assert not located(tmp_path / "ab").is_relative_to(located(tmp_path / "a"))
    with pytest.raises(ValueError, match="is not in"):
        located(tmp_path / "ab").relative_to(located(tmp_path / "a"))


def test_a_location_is_sorted_hashed_and_pickled_like_its_text(tmp_path: Path) -> None:
    places = [located(tmp_path / name) for name in "cab"]
    assert [place.name for place in sorted({*places, *places})] == ["a", "b", "c"]
    assert pickle.loads(pickle.dumps(places)) == places  # noqa: S301


def test_a_location_is_no_part_of_a_fingerprint(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="Location cannot be part"):
        fingerprint(located(tmp_path))


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a\0"])
def test_a_name_that_leads_out_of_a_folder_has_no_location_inside(tmp_path: Path, name: str) -> None:
    assert located(tmp_path).inside(name) is None


def test_a_name_that_stays_inside_is_joined(tmp_path: Path) -> None:
    assert located(tmp_path).inside("a/../b.tar") == located(tmp_path / "b.tar")


def test_a_file_name_of_any_bytes_can_be_written_and_read(tmp_path: Path) -> None:
    location = located(tmp_path) / os.fsdecode(b"\xff\xfe") / "a b%20?#*"
    location.write(b"data")
    assert location.read() == b"data"
    assert list(located(tmp_path).walk()) == [location]


def test_a_file_named_after_its_content_is_published_from_a_temporary_one(tmp_path: Path) -> None:
    folder = located(tmp_path / "new")
    with folder.scratch() as path:
        path.write_bytes(b"data")
        (folder / "data.bin").put(path)
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "data.bin"]
