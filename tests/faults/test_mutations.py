"""Damages every kind of input at random, and surveys it: each item has one row, and nothing hangs or escapes.

`make test` damages a few files of each kind; `make faults` more than 50,000 in its own process, and 1,200 through the
command.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.runtime.workspace import Workspace
from tests.faults.inputs import (
    CAPTION,
    TRANSCRIPTS,
    VIDEOS,
    count_rows,
    read_damaged_transcripts,
    survey_damaged,
    survey_damaged_captions,
    survey_damaged_table,
    write_items,
    write_tables,
)
from tests.faults.outcomes import Outcomes
from tests.support.mutations import mutate

pytestmark = pytest.mark.slow

_CHUNK = 500  # copies in one survey
_COMMAND_LIMIT_S = 1800


def test_a_few_damaged_copies_of_every_kind_of_input_have_rows(tmp_path: Path, results: list[Outcomes]) -> None:
    _campaign(tmp_path, results, items=3, videos=3, tables=3)


@pytest.mark.faults
def test_fifty_thousand_damaged_inputs_have_rows(tmp_path: Path, results: list[Outcomes]) -> None:
    _campaign(tmp_path, results, items=4000, videos=1000, tables=250)


@pytest.mark.faults
def test_a_thousand_damaged_inputs_have_rows_through_the_command(tmp_path: Path, results: list[Outcomes]) -> None:
    whole, damaged = tmp_path / "whole", tmp_path / "damaged"
    whole.mkdir()
    damaged.mkdir()
    expected = []
    for number, file in enumerate(write_items(whole)):
        for seed in range(75):
            copy = damaged / f"{number:02}-{seed:03}{''.join(file.suffixes)}"
            copy.write_bytes(mutate(file.read_bytes(), 1_000_000 + seed))
            expected.append(str(copy))
    command = [sys.executable, "-m", "longreel", "survey", str(damaged), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_COMMAND_LIMIT_S)
    assert done.returncode == 0, done.stderr
    found = count_rows(Outcomes("items, by command"), Workspace.existing(tmp_path / "out"), expected=expected)
    results.append(found)
    assert len(expected) >= 1000
    assert found.wrong == []


def _campaign(folder: Path, results: list[Outcomes], *, items: int, videos: int, tables: int) -> None:
    whole = folder / "whole"
    whole.mkdir()
    found: list[Outcomes] = []
    for file in write_items(whole):
        parts = _chunks(videos if file.name in VIDEOS else items)
        some = [survey_damaged(file, folder / f"{file.name}-{part.start}", seeds=part) for part in parts]
        found.append(_sum(file.name, some))
    some = [survey_damaged_captions(CAPTION, folder / f"captions-{part.start}", seeds=part) for part in _chunks(items)]
    found.append(_sum("caption", some))
    for name, content in TRANSCRIPTS.items():
        found.append(read_damaged_transcripts(name, content, folder / f"of-{name}", seeds=range(items)))
    found += [
        survey_damaged_table(file, folder / f"tables-{file.name}", seeds=range(tables)) for file in write_tables(whole)
    ]
    results += found
    assert [what for one in found for what in one.wrong] == []


def _chunks(count: int) -> list[range]:
    return [range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]


def _sum(kind: str, some: list[Outcomes]) -> Outcomes:
    total = Outcomes.total(some)
    total.kind = kind
    return total
