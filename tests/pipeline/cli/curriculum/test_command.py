"""The stages of a curriculum through the public command, each trained in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

import longreel
from tests.support.curricula import tokenized_workspace, write_curriculum


def train(folder: Path, *options: str) -> int:
    file, workspace, out = folder / "c.toml", folder / "ws", folder / "out"
    return longreel.main(
        ["train", "--curriculum", str(file), "--workspace", str(workspace), "--out", str(out), *options]
    )


def steps_of(run: Path) -> int:
    return max(int(path.name) for path in (run / "checkpoints").iterdir() if path.name.isdecimal())


@pytest.mark.slow
def test_stages_are_packed_and_trained_from_one_another_and_only_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_curriculum(tmp_path / "c.toml")
    tokenized_workspace(tmp_path / "ws")
    assert train(tmp_path, "--devices", "1") == 0
    said = capfd.readouterr()
    assert "stage 1 of 2: 64" in said.err
    assert "stage 2 of 2: 128" in said.err
    assert [steps_of(tmp_path / "out" / name) for name in ("64", "128")] == [3, 3]
    assert said.out.count(" -> ") == 2  # the held-out losses
    assert f'init-from = "{tmp_path / "out" / "64"}"' in (tmp_path / "out" / "128" / "train.toml").read_text()

    write_curriculum(tmp_path / "c.toml", steps=5)
    assert train(tmp_path, "--devices", "1") == 2
    said = capfd.readouterr()
    assert "stage 64 has 3 of 5 steps, but 128 was trained from its weights already" in said.err


@pytest.mark.slow
def test_a_stage_without_data_is_named_before_the_first_is_trained(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_curriculum(tmp_path / "c.toml")
    path.write_text(path.read_text().replace("context = 128", "context = 128\nmin_tokens = 5000"))
    tokenized_workspace(tmp_path / "ws")
    assert train(tmp_path) == 1
    said = capfd.readouterr().err
    assert "shorter than min_tokens" in said or "min_tokens" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_plan_is_printed_without_a_workspace_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_curriculum(tmp_path / "c.toml")
    command = ["train", "--curriculum", str(tmp_path / "c.toml"), "--out", str(tmp_path / "out")]
    assert longreel.main([*command, "--dry-run", "--flops-per-s", "1e9"]) == 0
    printed = capsys.readouterr().out
    assert "not packed" in printed
    assert len([line for line in printed.splitlines() if "3 x 2" in line]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["c.toml"]
    assert longreel.main(command) == 2
    assert "--workspace is missing" in capsys.readouterr().err


def test_a_curriculum_that_does_not_exist_names_the_presets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main(["train", "--curriculum=laptob", "--out", str(tmp_path / "out"), "--dry-run"]) == 1
    assert "presets are laptop, lwm-paper" in capsys.readouterr().err
