"""Kills commands that write, at many moments; the same command then makes what one makes that was not killed.

`make campaigns` kills two commands twice, `make faults` every command ten times. `make test` kills each where its own
tests are.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

import longreel
from tests.faults.outcomes import Outcomes
from tests.support.inputs.media import make_video
from tests.support.servers.command_server import CommandServer
from tests.support.stages import made_bytes
from tests.support.texts import story

pytestmark = pytest.mark.slow


_FOLDERS = ("survey", "signatures", "selection", "tokens", "packed")  # what logs and receipts say depends on the clock


@dataclass(frozen=True)
class Command:
    """A command, from its output folder to its arguments, and what to compare of what it makes there."""

    name: str
    arguments: Callable[[Path], Sequence[str]]
    before: Path | None = None  # a folder that the output folder is a copy of
    made: Callable[[Path], object] = lambda out: finished_files(out)


@pytest.mark.campaign
def test_commands_that_are_killed_are_completed_by_the_same_command(
    tmp_path: Path, commands: CommandServer, results: list[Outcomes]
) -> None:
    for command in _commands(tmp_path):
        if command.name in ("pack", "takedown"):
            _kill(command, commands, tmp_path, results, kills=2)


@pytest.mark.faults
def test_commands_killed_at_fifty_moments_are_completed_by_the_same_command(
    tmp_path: Path, commands: CommandServer, results: list[Outcomes]
) -> None:
    for command in _commands(tmp_path):
        _kill(command, commands, tmp_path, results, kills=10)


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandServer]:
    """Processes that a test may kill."""
    server = CommandServer(tmp_path_factory.mktemp("commands") / "stderr")
    yield server
    server.close()


def _commands(folder: Path) -> Iterator[Command]:
    """Yield every command that writes to a workspace, with material for it in `folder`."""
    inputs, finished = write_material(folder / "in"), folder / "finished"
    assert longreel.main(run_command(inputs, finished)) == 0
    select = ["select", "--val-fraction", "0.5", "--reconfigure"]
    yield Command("run", partial(run_command, inputs))
    yield Command("survey", lambda out: ["survey", str(inputs), "--out", str(out), "--units", "4"])
    yield Command("select", lambda out: [*select, "--out", str(out)], finished)
    yield Command("pack", lambda out: ["pack", "--out", str(out), "--context", "512"], finished)
    yield Command("takedown", lambda out: ["takedown", "book1.txt", "--out", str(out)], finished, _verified_tokens)


def run_command(inputs: Path, out: Path) -> list[str]:
    """Return the arguments of a whole run."""
    return ["run", str(inputs), "--out", str(out), "--context", "256", "--units", "4", "--decode.fps", "2"]


def write_material(folder: Path) -> Path:
    """Write two videos and three books."""
    folder.mkdir()
    for n in range(2):
        make_video(folder / f"video{n}.mp4", frames=30 + 10 * n)
    for n in range(3):
        (folder / f"book{n}.txt").write_text(story(n, 25))
    return folder


def _kill(command: Command, commands: CommandServer, folder: Path, results: list[Outcomes], *, kills: int) -> None:
    """Kill a command at moments spread over the time that it takes, and compare what the next one completes."""
    straight, outcomes = folder / f"{command.name}-straight", Outcomes(f"kill of {command.name}")
    results.append(outcomes)
    _start_from(command, straight)
    started = time.monotonic()
    assert commands.run(command.arguments(straight)) == 0, commands.stderr.read_text()
    took, expected = time.monotonic() - started, command.made(straight)
    for kill in range(kills):
        out = folder / f"{command.name}-{kill}"
        _start_from(command, out)
        code = commands.run(command.arguments(out), partial(kill_after, took * (kill + 0.5) / kills))
        again = commands.run(command.arguments(out))
        if again or command.made(out) != expected:
            outcomes.wrong.append(f"{command.name}, kill {kill + 1} of {kills} in {took:.1f} s: then exit code {again}")
        else:
            outcomes.named += code == -signal.SIGKILL
            outcomes.unchanged += code == 0  # it was faster
    assert outcomes.wrong == [], commands.stderr.read_text()[-4000:]


def _start_from(command: Command, out: Path) -> None:
    if command.before:
        shutil.copytree(command.before, out)


def kill_after(seconds: float, process: int) -> None:
    """Kill a process after some seconds, if it still runs."""
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):  # it was faster
        os.kill(process, signal.SIGKILL)


def finished_files(out: Path) -> dict[str, bytes]:
    """Return the bytes of every file that a job made."""
    return made_bytes(out, _FOLDERS)


def _verified_tokens(out: Path) -> dict[str, bytes]:
    """Return the bytes of the files of tokens, after `verify`; the other files name the takedown, and so its time."""
    assert longreel.main(["verify", str(out)]) == 0
    return {name: data for name, data in finished_files(out).items() if name.endswith((".tar", ".arrow"))}
