"""The options of `longreel plan-training`."""

from __future__ import annotations

from pathlib import Path

import pytest

import longreel
from tests.support.training.training_dataset import VOCABULARY, write_dataset


def test_a_training_is_planned_for_devices_that_do_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    line = "plan-training --model.recipe 7b --devices 64 --mesh.fsdp 8 --context 131072 --flops-per-s 4e14"
    assert longreel.main([*line.split(), "--model.layers", "40", "--dtype", "float32"]) == 0
    printed = capsys.readouterr().out
    assert "fsdp 8, tensor 1, sequence 8: 64 devices" in printed
    assert "activations in float32" in printed
    assert "total at the peak" in printed


def test_a_plan_takes_context_and_vocabulary_from_a_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dataset(tmp_path / "set", context=128, train=2, val=1)
    assert longreel.main(["plan-training", "--dataset", str(tmp_path / "set"), "--model.recipe", "debug"]) == 0
    printed = capsys.readouterr().out
    assert "8 x 128 = 1,024 tokens" in printed
    assert f"{2 * VOCABULARY.size * 32:,} in tables" in printed
    assert "measured on this machine's CPU" in printed


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--context 0", "context must be positive, got 0"),
        ("--utilization 2", "utilization must lie between 0 and 1, got 2"),
        ("--vision-size -1", "vision_size must not be negative, got -1"),
        ("--model.recipe huge", "model must be one of debug, small"),
    ],
)
def test_a_plan_of_nonsense_is_a_usage_error(option: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        longreel.main(["plan-training", *option.split(" ")])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
