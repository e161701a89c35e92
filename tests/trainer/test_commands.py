"""The options of `longreel train`."""

from __future__ import annotations

from pathlib import Path

import pytest

import longreel
from pipeline.cli.parse import parse
from schemas.storage.location import located
from trainer.commands import Train


def test_options_set_the_training_configuration() -> None:
    command = parse(Train, ["--dataset", "a", "b", "--out", "c", "--mesh.sequence", "-1"], prog="train")
    assert command.training.dataset == (located(Path("a")), located(Path("b")))
    assert command.training.mesh.sequence == -1
    assert command.training.steps == 0  # as many as fit the data


def test_a_value_out_of_range_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main(["train", "--dataset", "a", "--out", "c", "--steps", "-1"]) == 2
    assert "steps must not be negative, got -1" in capsys.readouterr().err


def test_a_missing_dataset_is_reported_with_its_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main(["train", "--dataset", str(tmp_path / "gone"), "--out", str(tmp_path / "model")]) == 1
    assert "no such dataset" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
