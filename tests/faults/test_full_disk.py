"""Commands that cannot write any more end with one message, and complete when there is space; `make faults` runs this.

A limit of the size of files stands for the full disk: the same calls fail, at a moment that the test chooses.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.outcomes import Outcomes
from tests.faults.test_kills import commands, finished_files, run_command, write_material
from tests.support.command_server import CommandServer

__all__ = ["commands"]  # the fixture

SIZES = [256 << n for n in range(10)]  # bytes, to 128 KiB


@pytest.mark.faults
def test_a_run_without_space_says_so_and_completes_later(
    tmp_path: Path, commands: CommandServer, results: list[Outcomes]
) -> None:
    inputs, outcomes = write_material(tmp_path / "in"), Outcomes("full disk")
    results.append(outcomes)
    assert commands.run(run_command(inputs, tmp_path / "straight")) == 0
    expected = finished_files(tmp_path / "straight")
    for size in SIZES:
        out = tmp_path / str(size)
        before = len(commands.stderr.read_text())
        code = commands.run(run_command(inputs, out), file_size=size)
        said = commands.stderr.read_text()[before:]
        is_told = code == 1 and "cannot write" in said and "Finished work is kept" in said and "Traceback" not in said
        completed = commands.run(run_command(inputs, out)) == 0 and finished_files(out) == expected
        outcomes.named += is_told and completed
        outcomes.unchanged += code == 0 and completed
        if not completed or not (is_told or code == 0):
            outcomes.wrong.append(f"{size} bytes: exit code {code}, completed {completed}: {said[-500:]}")
    assert outcomes.wrong == []
