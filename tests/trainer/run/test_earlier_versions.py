from __future__ import annotations

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from schemas.errors import ConfigError, DatasetError
from tests.trainer.run.test_description import DESCRIPTION
from trainer.run.checkpoint import Checkpoints
from trainer.run.earlier_versions import is_of_earlier_version
from trainer.run.resumption import choose_start
from trainer.run.retention import Retention


def _write(run: Path, *, earlier: bool = True) -> Path:
    """Write a checkpoint as it was before checksums, families and settings of the optimizer, or without the first."""
    with Checkpoints(run, keep=Retention()) as checkpoints:
        tree = {"layers": jnp.arange(4.0)}  # the value projection was called so
        checkpoints.save(3, params=tree, optimizer=tree, position={}, description=DESCRIPTION)
    folder = run / "checkpoints" / "3"
    (folder / "checksums.json").unlink()
    if earlier:
        path = folder / "description" / "metadata"
        values = json.loads(path.read_text())
        for name in ("mixture", "max_epochs", "batch_ramp", "optimizer", "schedule_steps"):
            del values[name]
        del values["model"]["family"]
        path.write_text(json.dumps(values))
    return folder


def test_the_parameters_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    folder = _write(tmp_path)
    assert is_of_earlier_version(folder)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.describe(3).model == DESCRIPTION.model
        assert checkpoints.describe(3).optimizer is None
        found = checkpoints.open_params(3).read("layers/value", (slice(0, 4),))
    np.testing.assert_array_equal(found, np.arange(4.0))


def test_a_run_of_an_earlier_version_is_not_resumed_and_the_error_names_what_starts_from_it(tmp_path: Path) -> None:
    _write(tmp_path)
    with Checkpoints(tmp_path, keep=Retention()) as checkpoints:
        for step in (None, 3):
            with pytest.raises(ConfigError, match=f"with --init-from {tmp_path} and another --out"):
                choose_start(checkpoints, DESCRIPTION, step=step)
        assert checkpoints.steps() == [3]


def test_a_newer_checkpoint_without_checksums_is_damaged(tmp_path: Path) -> None:
    folder = _write(tmp_path, earlier=False)
    assert not is_of_earlier_version(folder)
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(DatasetError, match=r"checksums\.json is missing"):
        checkpoints.describe(3)
    (folder / "description" / "metadata").write_text("{")
    assert not is_of_earlier_version(folder)
