from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from schemas.errors import ConfigError
from schemas.runs.metrics import MetricsLog
from schemas.runs.weights_and_biases import WeightsAndBiases


def test_the_rows_of_a_run_and_of_its_continuation_are_kept_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="needs the extra wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    numbers = set()
    for step in (1, 2):
        with MetricsLog(tmp_path, step=step - 1, boards=[WeightsAndBiases(tmp_path, project="tests")]) as log:
            log.write("train", step, {"loss": 1.5})
        numbers |= {path.name.rpartition("-")[2] for path in (tmp_path / "wandb").glob("offline-run-*")}
    files = sorted((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == 2
    deadline = time.monotonic() + 30  # another process writes them
    while not all(b"train/loss" in path.read_bytes() for path in files):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len(numbers) == 1


def test_a_missing_package_is_an_error_that_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"pip install 'longreel\[wandb\]'"):
        WeightsAndBiases(tmp_path, project="tests")
