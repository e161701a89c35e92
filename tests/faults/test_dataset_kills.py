"""Kills the driver while it changes a dataset in an object store: a reader finds the old dataset or the new one.

`make test` kills `pack` and `takedown` once each, `make faults` ten times each, in S3 and in Google Cloud Storage.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from pipeline.dataset.verify.verify import verify
from schemas.dataset import read_card
from schemas.storage.location import Location
from tests.faults.outcomes import Outcomes
from tests.support.datasets.dataset_driver import pack_to
from tests.support.datasets.removal_datasets import FEW, FULL
from tests.support.finished_workspace import write_finished_workspace
from tests.support.servers.command_server import CommandServer
from tests.support.servers.object_servers import ObjectServer
from tests.support.token_stores import write_store

pytestmark = pytest.mark.slow

OLD_BYTES, NEW_BYTES = 12_000, 40_000  # of a shard
COMMANDS = {
    "pack": ["--context", "64", "--shard-bytes", "40000", "--sentence-reach", "0"],
    "takedown": ["clip.mp4"],
}
GONE = (FEW[1].id, FULL.id, FEW[-1].id)
_numbers = itertools.count()


@dataclass(frozen=True)
class Change:
    """A command that changes a dataset that another one has packed, from the dataset to the arguments."""

    name: str
    arguments: Callable[[Location], Sequence[str]]


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    write_store(tmp_path / "tokens", FEW)
    return tmp_path / "tokens"


@pytest.mark.faults
def test_commands_on_a_workspace_in_a_bucket_that_are_killed_leave_the_old_dataset_or_the_new_one(
    tmp_path: Path, s3: ObjectServer, results: list[Outcomes]
) -> None:
    finished, bucket = write_finished_workspace(tmp_path / "finished").root, s3.bucket()

    def start() -> Location:
        place = bucket / str(next(_numbers))
        for file in finished.walk():
            (place / file.relative_to(finished)).write(file.read())
        return place / "packed" / "64"

    with contextlib.closing(CommandServer(tmp_path / "stderr")) as commands:
        assert commands.run(["verify", str(finished / "packed" / "64")]) == 0  # waits for the imports
        for name, options in COMMANDS.items():
            change = Change(f"longreel {name}", partial(_on_workspace, name, options))
            outcomes = Outcomes(f"kill of longreel {name}, s3")
            results.append(outcomes)
            kill_at_moments(change, commands, start, outcomes, kills=10)
            assert outcomes.wrong == [], commands.stderr.read_text()[-4000:]


def _on_workspace(name: str, options: Sequence[str], dataset: Location) -> list[str]:
    return [name, *options, "--out", str(dataset.parent.parent)]


@contextlib.contextmanager
def drivers(folder: Path) -> Iterator[CommandServer]:
    """Run commands of the dataset driver in processes that find the server."""
    folder.mkdir(exist_ok=True)
    server = CommandServer(folder / "stderr", main="tests.support.datasets.dataset_driver:main", modules=())
    try:
        yield server
    finally:
        server.close()


def changes(tokens: Path) -> list[Change]:
    return [
        Change("pack", lambda place: ["pack", str(tokens), str(place), str(NEW_BYTES)]),
        Change("takedown", lambda place: ["remove", str(place), *GONE]),
    ]


def test_a_driver_that_is_killed_leaves_the_old_dataset_or_the_new_one(
    tokens: Path, s3: ObjectServer, results: list[Outcomes]
) -> None:
    campaign(tokens, s3, results, kills=1)


@pytest.mark.faults
def test_a_driver_that_is_killed_ten_times_leaves_the_old_dataset_or_the_new_one(
    tokens: Path, s3: ObjectServer, gcs: ObjectServer, results: list[Outcomes]
) -> None:
    for server in (s3, gcs):
        campaign(tokens, server, results, kills=10)


@pytest.mark.parametrize("name", ["pack", pytest.param("takedown", marks=pytest.mark.faults)])
def test_a_driver_that_slept_beyond_its_lease_stops_without_changing_what_its_successor_made(
    tokens: Path, s3: ObjectServer, name: str
) -> None:
    bucket = s3.bucket()
    place, straight = packed(tokens, bucket), packed(tokens, bucket)
    (change,) = (change for change in changes(tokens) if change.name == name)
    with drivers(tokens.parent / "1") as first, drivers(tokens.parent / "2") as second:
        assert second.run(change.arguments(straight)) == 0
        assert first.run(["pack", str(tokens), str(bucket / "imports"), str(OLD_BYTES)]) == 0
        before, command = set(place.walk()), change.arguments(place)

        def take_over(process: int) -> None:
            wait_until(lambda: not before.issuperset(place.walk()))
            os.kill(process, signal.SIGSTOP)
            try:
                assert second.run(command) == 1
                assert "LeaseHeld" in second.stderr.read_text()
                wait_until(lambda: second.run(command) == 0)
                assert contents(place) == contents(straight)
            finally:
                os.kill(process, signal.SIGCONT)

        assert first.run(command, take_over) == 1
        assert "another longreel command took over" in first.stderr.read_text()
        found, expected = contents(place), contents(straight)
        assert {name: found.get(name) for name in expected} == expected
        assert verify(place).problems == ()
        assert second.run(command) == 0  # deletes what the first was just sending when it was stopped
    assert contents(place) == contents(straight)


def wait_until(is_done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def campaign(tokens: Path, server: ObjectServer, results: list[Outcomes], *, kills: int) -> None:
    """Kill both commands at moments spread over the time that they take."""
    bucket = server.bucket()
    with drivers(tokens.parent) as commands:
        assert commands.run(["pack", str(tokens), str(bucket / "first"), str(OLD_BYTES)]) == 0  # waits for the imports
        for change in changes(tokens):
            outcomes = Outcomes(f"kill of {change.name}, {server.scheme}")
            results.append(outcomes)
            kill_at_moments(change, commands, partial(packed, tokens, bucket), outcomes, kills=kills)
            assert outcomes.wrong == [], commands.stderr.read_text()[-4000:]


def kill_at_moments(
    change: Change, commands: CommandServer, start: Callable[[], Location], outcomes: Outcomes, *, kills: int
) -> None:
    """Kill a command that changes the dataset that `start` makes, and compare what the next one completes."""
    straight = start()
    before = read_card(straight)
    started = time.monotonic()
    assert commands.run(change.arguments(straight)) == 0, commands.stderr.read_text()
    took, expected, after = time.monotonic() - started, contents(straight), read_card(straight)
    for kill in range(kills):
        place = start()
        code = commands.run(change.arguments(place), partial(kill_after, took * 0.8 * (kill + 0.5) / kills))
        found, problems = read_card(place), verify(place).problems
        again = commands.run(change.arguments(place))
        if problems or found not in (before, after) or again or contents(place) != expected:
            outcomes.wrong.append(f"kill {kill + 1} of {kills} in {took:.1f} s: {problems}, then exit code {again}")
        elif code == -signal.SIGKILL:
            outcomes.named += 1
        else:  # it was faster
            outcomes.unchanged += 1


def packed(tokens: Path, bucket: Location) -> Location:
    """Pack the dataset that a command changes."""
    place = bucket / str(next(_numbers)) / "64"
    pack_to(tokens, place, shard_bytes=OLD_BYTES)
    return place


def contents(place: Location) -> dict[str, bytes]:
    """Return the bytes of every file of a dataset."""
    return {found.relative_to(place): found.read() for found in place.walk()}


def kill_after(seconds: float, process: int) -> None:
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):  # it was faster
        os.kill(process, signal.SIGKILL)
