"""Flips single bits of every kind of file, and reads the file as Longreel does.

`make test` flips a few bits of each kind, `make faults` at least 1,000, and prints the table of docs/reliability.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.files import Kind, checkpoint_kinds, dataset_kinds, workspace_kinds
from tests.faults.outcomes import Outcomes, flip_bits

pytestmark = pytest.mark.slow

Kinds = Callable[[Path], Iterator[Kind]]
ALL = pytest.mark.parametrize("kinds", [workspace_kinds, dataset_kinds, checkpoint_kinds])


@ALL
def test_a_few_flipped_bits_of_every_kind_of_file_are_noticed(
    kinds: Kinds, tmp_path: Path, results: list[Outcomes]
) -> None:
    _flip(kinds, tmp_path, results, count=8)


@pytest.mark.faults
@ALL
def test_a_thousand_flipped_bits_of_every_kind_of_file_are_noticed(
    kinds: Kinds, tmp_path: Path, results: list[Outcomes]
) -> None:
    _flip(kinds, tmp_path, results, count=1000)


def _flip(kinds: Kinds, folder: Path, results: list[Outcomes], *, count: int) -> None:
    found = [flip_bits(kind.name, kind.files, kind.read, count=count) for kind in kinds(folder)]
    results += found
    assert [what for one in found for what in one.wrong] == []
