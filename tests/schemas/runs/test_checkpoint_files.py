from __future__ import annotations

from pathlib import Path

from schemas.runs.checkpoint_files import checkpoint_steps, finished_steps
from tests.support.training.stored_checkpoints import write_checkpoint


def test_steps_are_sorted_by_number(tmp_path: Path) -> None:
    for step in (100, 20, 3):
        write_checkpoint(tmp_path, step)
    (tmp_path / "checkpoints" / "4.orbax-checkpoint-tmp").mkdir()
    assert checkpoint_steps(tmp_path) == finished_steps(tmp_path) == [3, 20, 100]


def test_a_checkpoint_without_checksums_is_not_finished(tmp_path: Path) -> None:
    (write_checkpoint(tmp_path, 3) / "checksums.json").unlink()
    assert (checkpoint_steps(tmp_path), finished_steps(tmp_path)) == ([3], [])


def test_a_checkpoint_that_is_set_aside_does_not_count(tmp_path: Path) -> None:
    for step in (3, 20):
        write_checkpoint(tmp_path, step)
    (tmp_path / "checkpoints" / "20" / "set-aside.json").write_text("{}")
    assert finished_steps(tmp_path) == [3]


def test_a_folder_without_checkpoints_has_no_steps(tmp_path: Path) -> None:
    assert checkpoint_steps(tmp_path) == []
