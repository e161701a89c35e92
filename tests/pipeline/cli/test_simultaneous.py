"""Two commands at once: one that writes to a folder refuses to start while another one writes there."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import longreel
from pipeline.cli.synth import Destination
from pipeline.synthesis.item import SynthConfig
from schemas.errors import LeaseHeld
from schemas.runs.folder_lock import locked_folder
from schemas.storage.location import located
from tests.support.finished_workspace import write_finished_workspace
from tests.support.servers.chat_server import Answer, chat_server
from tests.support.texts import story
from trainer.run.lock import locked

pytestmark = pytest.mark.slow


def refused(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that fails, and return its message."""
    assert longreel.main(command) == 1
    printed = capsys.readouterr().err.strip().splitlines()
    return printed[-1]


def test_a_workspace_takes_one_command_that_writes_at_a_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = write_finished_workspace(tmp_path / "workspace")
    (tmp_path / "a.txt").write_text(story(1, 3))
    place, text = ["--out", str(workspace.root)], str(tmp_path / "a.txt")
    with workspace.locked():
        for command in (
            ["run", text, "--context", "64", *place],
            ["survey", text, *place],
            ["select", *place],
            ["tokenize", *place],
            ["pack", "--context", "64", *place],
            ["takedown", "/b/novel.txt", *place],
        ):
            assert "is in use by another longreel command; wait until it ends" in refused(command, capsys), command
        for command in (["list", str(workspace.root)], ["report", str(workspace.root)]):
            assert longreel.main(command) == 0
        assert longreel.main(["takedown", "/b/novel.txt", *place, "--dry-run"]) == 0


def test_a_model_is_imported_by_one_command_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with locked_folder(tmp_path / "out"):
        message = refused(["import-model", str(tmp_path), "--out", str(tmp_path / "out")], capsys)
    assert "is in use by another longreel command" in message


def test_generated_items_are_written_by_one_command_at_a_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, out = tmp_path / "out", ["--out", str(tmp_path / "out")]
    Image.new("RGB", (20, 20)).save(tmp_path / "p.png")
    with locked_folder(place), chat_server(lambda body: Answer("A square.")) as server:
        message = refused(["caption", str(tmp_path / "p.png"), "--endpoint", server.address, *out], capsys)
        assert "is in use by another longreel command" in message
        assert server.requests == []
        made = Destination(out=place, text_tokenizer=located(tmp_path / "text.model"), synth=SynthConfig(length=64))
        with pytest.raises(LeaseHeld):
            made.write("copy", [])


def test_a_training_run_takes_one_command_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = str(write_finished_workspace(tmp_path / "workspace").packed(64))
    with locked(tmp_path / "run"):
        message = refused(["train", "--dataset", dataset, "--out", str(tmp_path / "run"), "--steps", "1"], capsys)
    assert "another run is training in" in message
