from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from schemas.errors import DatasetError
from schemas.files import write_json
from schemas.runs.checksums import CHECKSUMS, Checksums, write_checksums


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("params/d/a", "params/manifest", "position/metadata", "other/x"):
        path = tmp_path / "4" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    write_checksums(tmp_path / "4", ["params", "position"])
    return tmp_path / "4"


def test_the_files_of_an_item_are_compared(folder: Path) -> None:
    (folder / "params" / "d" / "a").write_bytes(b"params/d/b")
    (folder / "other" / "x").write_bytes(b"")
    assert list(Checksums(folder, ["position"]).problems()) == []
    (problem,) = Checksums(folder, ["params", "position"]).problems()
    assert problem == f"{folder}/params/d/a was altered: its checksum does not match"


def test_missing_halved_and_unreadable_files_are_named(folder: Path) -> None:
    (folder / "params" / "manifest").unlink()
    (folder / "params" / "d" / "a").write_bytes(b"para")
    assert list(Checksums(folder, ["params"]).problems()) == [
        f"{folder}/params/d/a has 4 bytes, expected 10",
        f"{folder}/params/manifest is missing",
    ]
    shutil.rmtree(folder / "position")
    assert list(Checksums(folder, ["position"]).problems()) == [f"{folder}/position/metadata is missing"]


def test_shares_of_the_files_cover_all(folder: Path) -> None:
    (folder / "params" / "manifest").unlink()
    found = [Checksums(folder, ["params", "position"]).first_problem(part=i, parts=3) for i in range(3)]
    assert [i for i in found if i is not None] == [1]
    assert Checksums(folder, ["params", "position"]).describe(1).endswith("params/manifest is missing")


@pytest.mark.parametrize("files", [3, [1], {"a": 1}, {"a": [1]}, {"a": ["x", "y"]}, None])
def test_a_list_of_another_form_is_damaged(folder: Path, files: object) -> None:
    write_json(folder / CHECKSUMS, {"files": files})
    with pytest.raises(DatasetError, match=f"{CHECKSUMS} is damaged"):
        Checksums(folder, ["params"])


def test_a_missing_list_is_named(folder: Path) -> None:
    (folder / CHECKSUMS).unlink()
    with pytest.raises(DatasetError, match=f"{CHECKSUMS} is missing"):
        Checksums(folder, ["params"])
