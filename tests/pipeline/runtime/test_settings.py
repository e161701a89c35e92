"""The settings of a workspace are recorded once, and changed on request only."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.runtime.settings import NAME, Change, Settings, apply_settings
from schemas.errors import UsageError
from schemas.storage.location import located

FPS, SEED, LIMIT = ("decode", "fps"), ("pack", "4096", "seed"), ("select", "limit")
VALUES = {
    FPS: "4.0",
    SEED: "0",
    LIMIT: '["a=1:", "b\\"=[1]:"]',
    ("vision",): '"small-128"',
    ("pack", "a.b c", "x"): "{}",
}


def test_a_workspace_without_a_file_has_no_settings(tmp_path: Path) -> None:
    assert Settings.read(located(tmp_path)).values == {}


def test_settings_are_read_back(tmp_path: Path) -> None:
    Settings(VALUES).write(located(tmp_path))
    assert Settings.read(located(tmp_path)).values == VALUES


def test_first_values_are_recorded_and_the_same_ones_leave_the_file_alone(tmp_path: Path) -> None:
    apply_settings(located(tmp_path), {FPS: "4.0"}, reconfigure=False)
    apply_settings(located(tmp_path), {SEED: "1"}, reconfigure=False)
    assert Settings.read(located(tmp_path)).values == {FPS: "4.0", SEED: "1"}
    before = (tmp_path / NAME).stat()
    apply_settings(located(tmp_path), {SEED: "1"}, reconfigure=False)
    assert (tmp_path / NAME).stat().st_mtime_ns == before.st_mtime_ns
    assert (tmp_path / NAME).stat().st_ino == before.st_ino


def test_other_values_are_refused_with_the_differences_and_the_stages(tmp_path: Path) -> None:
    apply_settings(located(tmp_path), VALUES, reconfigure=False)
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(UsageError) as e:
        apply_settings(located(tmp_path), {FPS: "2.0", ("vision",): '"other"', SEED: "0"}, reconfigure=False)
    assert "decode.fps: 4.0 -> 2.0" in str(e.value)
    assert 'vision: "small-128" -> "other"' in str(e.value)
    assert "seed" not in str(e.value)
    assert "survey, dedup, select, tokenize, pack" in str(e.value)
    assert "--reconfigure" in str(e.value)
    assert (tmp_path / NAME).read_bytes() == before


def test_reconfigure_applies_other_values_and_keeps_the_rest(tmp_path: Path) -> None:
    apply_settings(located(tmp_path), VALUES, reconfigure=False)
    apply_settings(located(tmp_path), {FPS: "2.0"}, reconfigure=True)
    assert Settings.read(located(tmp_path)).values == VALUES | {FPS: "2.0"}


@pytest.mark.parametrize(
    ("key", "stages"),
    [
        (("survey", "thumbnails"), ("survey", "dedup", "select", "tokenize", "pack")),
        (("dedup", "max-bucket"), ("dedup", "select", "tokenize", "pack")),
        (LIMIT, ("select", "tokenize", "pack")),
        (("interleave", "seed"), ("tokenize", "pack")),
        (("vision",), ("tokenize", "pack")),
        (SEED, ("pack 4096",)),
    ],
)
def test_a_change_names_the_stages_that_depend_on_it(key: tuple[str, ...], stages: tuple[str, ...]) -> None:
    assert Change(key, "1", "2").stages == stages


def test_a_file_that_was_edited_is_accepted_with_reconfigure_only(tmp_path: Path) -> None:
    Settings(VALUES).write(located(tmp_path))
    path = tmp_path / NAME
    path.write_text(path.read_text().replace("fps = 4.0", "fps = 2.0"))
    with pytest.raises(UsageError, match="was edited or damaged"):
        Settings.read(located(tmp_path))
    with pytest.raises(UsageError, match="was edited or damaged"):
        apply_settings(located(tmp_path), {FPS: "2.0"}, reconfigure=False)
    apply_settings(located(tmp_path), {}, reconfigure=True)
    assert Settings.read(located(tmp_path)).values == VALUES | {FPS: "2.0"}


@pytest.mark.parametrize("content", [b"x = ", b"\xff\xfe", b"[a\nb = 1\n"])
def test_a_file_that_is_not_toml_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(UsageError, match=NAME):
        Settings.read(located(tmp_path), accept_edited=True)


def test_what_may_be_read_changes_without_reconfigure(tmp_path: Path) -> None:
    apply_settings(
        located(tmp_path), {("access", "follow-links"): "false", ("decode", "fps"): "4.0"}, reconfigure=False
    )
    apply_settings(located(tmp_path), {("access", "follow-links"): "true"}, reconfigure=False)
    assert Settings.read(located(tmp_path)).values[("access", "follow-links")] == "true"
