"""Messages on stderr as text and as JSON lines, and the log file of a command."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import longreel
from schemas.runs.messages import LOG, Messages, messages
from schemas.storage.location import located


@pytest.fixture
def own() -> Iterator[Messages]:
    own = Messages()
    yield own
    own.configure("", level="info", format="text")
    messages.configure("", level="info", format="text")


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_text_is_one_line_a_message_in_which_controls_are_escaped(
    own: Messages, capsys: pytest.CaptureFixture[str]
) -> None:
    own.info("a [bold]name[/bold]\x1b[31m\nof data", event="progress", done=1)
    assert capsys.readouterr().err == "a [bold]name[/bold]\\u001b[31m\\nof data\n"


def test_json_has_the_fields_of_every_message_and_those_of_its_event(
    own: Messages, capsys: pytest.CaptureFixture[str]
) -> None:
    own.configure("run", level="info", format="json")
    own.info("survey: 3 of 4\x1b", event="progress", job="survey", done=3, total=4)
    own.warning("careful")
    own.error("it failed", exit_code=1)
    progress, warning, error = rows(capsys.readouterr().err)
    assert progress.pop("time").endswith("Z")
    assert progress == {
        "level": "info",
        "command": "run",
        "event": "progress",
        "message": "survey: 3 of 4\x1b",
        "job": "survey",
        "done": 3,
        "total": 4,
    }
    assert (warning["level"], warning["event"]) == ("warning", "message")
    assert (error["level"], error["event"], error["exit_code"]) == ("error", "error", 1)


@pytest.mark.parametrize(("level", "shown"), [("info", 3), ("warning", 2), ("error", 1), ("debug", 3)])
def test_messages_below_the_level_are_not_shown(
    own: Messages, level: Any, shown: int, capsys: pytest.CaptureFixture[str]
) -> None:
    own.configure("run", level=level, format="text")
    own.info("one")
    own.warning("two")
    own.error("three")
    assert len(capsys.readouterr().err.splitlines()) == shown


def test_messages_of_libraries_are_shown_with_the_level_debug(
    own: Messages, capsys: pytest.CaptureFixture[str]
) -> None:
    own.configure("run", level="info", format="json")
    logging.getLogger("jax").info("compiling")
    assert capsys.readouterr().err == ""
    own.configure("run", level="debug", format="json")
    logging.getLogger("jax").info("compiling")
    (row,) = rows(capsys.readouterr().err)
    assert (row["event"], row["logger"], row["message"]) == ("library", "jax", "compiling")


def test_a_log_file_has_what_a_command_says_and_why_it_ended(own: Messages, tmp_path: Path) -> None:
    own.configure("run", level="error", format="text")
    with own.recorded(located(tmp_path / LOG)):
        own.info("one")
    with pytest.raises(ValueError, match="no disk"), own.recorded(located(tmp_path / LOG)):
        raise ValueError("no disk")
    own.info("after")
    found = rows((tmp_path / LOG).read_text())
    assert [(row["event"], row["message"]) for row in found] == [
        ("start", "run starts"),
        ("message", "one"),
        ("start", "run starts"),
        ("error", "no disk"),
    ]


def test_a_full_log_becomes_the_earlier_one_and_the_newest_lines_are_in_the_log(
    own: Messages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("schemas.runs.messages.LOG_BYTES", 1000)
    own.configure("run", level="error", format="text")
    with own.recorded(located(tmp_path / LOG)):
        for n in range(50):
            own.info(f"message {n}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOG, f"{LOG}.1"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2500
    found = rows((tmp_path / f"{LOG}.1").read_text()) + rows((tmp_path / LOG).read_text())
    numbers = [int(row["message"].removeprefix("message ")) for row in found]
    assert numbers == list(range(numbers[0], 50))


def test_warnings_of_libraries_at_the_root_logger_are_shown_with_the_level_debug_only(own: Messages) -> None:
    root = logging.getLogger()
    of_beam = logging.LogRecord("root", logging.WARNING, "/lib/apache_beam/io.py", 1, "apitools not found", None, None)
    of_others = logging.LogRecord("root", logging.WARNING, "/lib/other/io.py", 1, "careful", None, None)
    for _ in range(2):  # a filter replaces the earlier one
        own.configure("run", level="debug", format="text")
        assert root.filter(of_beam)
        own.configure("run", level="info", format="text")
        assert not root.filter(of_beam)
        assert root.filter(of_others)


def test_a_log_that_cannot_be_written_does_not_end_a_command(own: Messages, tmp_path: Path) -> None:
    with own.recorded(located(tmp_path / "none" / LOG)):
        own.info("one")
    assert list(tmp_path.iterdir()) == []


def test_a_command_prints_its_error_as_json(own: Messages, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main(["list", str(tmp_path / "none"), "--log-format", "json"]) == 1
    (row,) = rows(capsys.readouterr().err)
    assert (row["command"], row["level"], row["exit_code"]) == ("list", "error", 1)
    assert "none" in row["message"]
