from __future__ import annotations

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import pytest

from schemas.errors import ConfigError, DatasetError
from tests.trainer.run.test_description import DESCRIPTION
from trainer.run.checkpoint import Checkpoints
from trainer.run.resumption import Start, choose_start
from trainer.run.retention import Retention


def _write(run: Path, *steps: int) -> None:
    tree = {"a": jnp.arange(4.0)}
    with Checkpoints(run, keep=Retention(newest=9)) as checkpoints:
        for step in steps:
            checkpoints.save(step, params=tree, optimizer=tree, position={}, description=DESCRIPTION)


def _damage(run: Path, step: int) -> Path:
    path = run / "checkpoints" / str(step) / "description" / "metadata"
    path.write_bytes(path.read_bytes()[:-1])
    return path


def _steps(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_run_without_checkpoints_starts_from_the_beginning(tmp_path: Path) -> None:
    with Checkpoints(tmp_path, keep=Retention()) as checkpoints:
        assert choose_start(checkpoints, DESCRIPTION) == Start(None)


def test_a_run_resumes_from_the_newest_checkpoint(tmp_path: Path) -> None:
    _write(tmp_path, 2, 4)
    with Checkpoints(tmp_path, keep=Retention()) as checkpoints:
        assert choose_start(checkpoints, DESCRIPTION) == Start(4)
    assert _steps(tmp_path) == ["checkpoints"]


def test_damaged_checkpoints_are_named_and_set_aside(tmp_path: Path) -> None:
    _write(tmp_path, 2, 4, 6)
    damaged = [_damage(tmp_path, step) for step in (6, 4)]
    with Checkpoints(tmp_path, keep=Retention()) as checkpoints:
        start = choose_start(checkpoints, DESCRIPTION)
        assert checkpoints.steps() == [2]
    assert start.step == 2
    assert all(str(path) in note for path, note in zip(damaged, start.notes, strict=False))
    aside = tmp_path / "checkpoints-set-aside"
    assert start.notes[2] == f"moved the checkpoints after step 2 to {aside}"
    assert _steps(aside) == ["4", "6"]


def test_a_run_resumes_from_the_checkpoint_that_is_named_as_often_as_asked(tmp_path: Path) -> None:
    for _ in range(2):
        _write(tmp_path, 2, 4)
        with Checkpoints(tmp_path, keep=Retention()) as checkpoints:
            assert choose_start(checkpoints, DESCRIPTION, step=2).step == 2
    assert _steps(tmp_path / "checkpoints-set-aside") == ["4", "4.1"]


def test_nothing_is_moved_if_the_run_cannot_resume(tmp_path: Path) -> None:
    _write(tmp_path, 2, 4)
    other = dataclasses.replace(DESCRIPTION, seed=7)
    with Checkpoints(tmp_path, keep=Retention()) as checkpoints:
        with pytest.raises(ConfigError, match="no checkpoint of step 3; it has: 2, 4"):
            choose_start(checkpoints, DESCRIPTION, step=3)
        with pytest.raises(ConfigError, match="seed: the checkpoint has 0, this run 7"):
            choose_start(checkpoints, other, step=2)
        assert checkpoints.steps() == [2, 4]
        assert choose_start(checkpoints, other, step=4, allow_changed=True).notes == (
            "changed: seed: the checkpoint has 0, this run 7",
        )


def test_a_run_whose_checkpoints_are_all_damaged_does_not_start_again_by_itself(tmp_path: Path) -> None:
    _write(tmp_path, 2, 4)
    for step in (2, 4):
        _damage(tmp_path, step)
    with (
        Checkpoints(tmp_path, keep=Retention()) as checkpoints,
        pytest.raises(DatasetError, match=r"no checkpoint in .* is intact: .*4/description/metadata"),
    ):
        choose_start(checkpoints, DESCRIPTION)
    assert _steps(tmp_path / "checkpoints") == ["2", "4"]
