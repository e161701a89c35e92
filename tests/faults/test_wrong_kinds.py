"""Puts a folder in place of each file of a workspace, and a file in place of each folder; then runs the commands.

Each command ends with success, or with one message that says what is wrong. `make test` runs `verify` on a workspace of
made-up rows, `make faults` every command on one of a whole run.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import longreel
from tests.faults.outcomes import Outcomes
from tests.faults.test_kills import run_command, write_material
from tests.support.finished_workspace import write_finished_workspace

pytestmark = pytest.mark.slow

# A run has a time, a unit a number, and a file of a dataset or of tokens the hash of its content.
_NUMBERS = re.compile(r"\d{8}-\d{6}-[0-9a-f]{8}|(?<=-)[0-9a-f]{12,}|\d{5,}")
Run = Callable[[Sequence[str]], int]


def test_verify_names_what_is_of_the_wrong_kind(
    tmp_path: Path, results: list[Outcomes], capfd: pytest.CaptureFixture[str]
) -> None:
    finished = write_finished_workspace(tmp_path / "finished").root.local()
    _campaign(finished, lambda out: [["verify", str(out)]], results, capfd)


@pytest.mark.slow
@pytest.mark.faults
def test_every_command_names_what_is_of_the_wrong_kind(
    tmp_path: Path, results: list[Outcomes], capfd: pytest.CaptureFixture[str]
) -> None:
    inputs, finished = write_material(tmp_path / "in"), tmp_path / "finished"
    assert longreel.main(run_command(inputs, finished)) == 0
    assert longreel.main(["report", str(finished)]) == 0

    def commands(out: Path) -> list[list[str]]:
        place, dataset = ["--out", str(out)], str(out / "packed" / "256")
        return [
            run_command(inputs, out),
            ["survey", str(inputs), *place],
            *(["select", *place], ["tokenize", *place], ["pack", *place, "--context", "256"]),
            *(["list", str(out)], ["explain", "book1.txt", "--workspace", str(out)], ["report", str(out)]),
            *(["inspect", dataset], ["verify", str(out)], ["trace", dataset, "--key", "train-000000000"]),
            ["takedown", "book1.txt", *place],
        ]

    _campaign(finished, commands, results, capfd)


def _campaign(
    finished: Path,
    commands: Callable[[Path], list[list[str]]],
    results: list[Outcomes],
    capfd: pytest.CaptureFixture[str],
) -> None:
    outcomes, out = Outcomes("file for folder, and reverse"), finished.with_name("out")
    results.append(outcomes)
    kinds = {_NUMBERS.sub("N", path.relative_to(finished).as_posix()): path for path in sorted(finished.rglob("*"))}
    for path in kinds.values():
        for number in range(len(commands(out))):
            shutil.rmtree(out, ignore_errors=True)
            shutil.copytree(finished, out)
            wrong = out / path.relative_to(finished)
            _replace(wrong)
            command = commands(out)[number]
            code, printed = longreel.main(command), capfd.readouterr()
            said = printed.out + printed.err
            if code == 0:
                outcomes.unchanged += 1
            elif code in (1, 2) and wrong.name in said and "Errno 2" not in said and "Traceback" not in said:
                outcomes.named += 1
            else:
                outcomes.wrong.append(f"{wrong}: {command[0]} ended with {code}: {printed.err[-500:]}")
    assert outcomes.wrong == []


def _replace(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
        path.write_text("not a folder")
    else:
        path.unlink()
        path.mkdir()
        (path / "inside").write_text("not a file")
