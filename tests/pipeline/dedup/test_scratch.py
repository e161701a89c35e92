"""The division of the work, and the names of intermediate files."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.dedup.candidates import MAX_ITEMS, PARTITIONS
from pipeline.dedup.scratch import Division, Scratch
from schemas.storage.location import located


@given(st.integers(0, MAX_ITEMS))
def test_parts_divide_the_partitions_evenly(items: int) -> None:
    division = Division.of(items, items)
    assert PARTITIONS % division.parts == 0
    assert 1 <= division.ranges <= 64
    assert division.blocks == min(256, items)


def test_a_few_items_are_compared_by_several_workers() -> None:
    assert [Division.of(items, 1).ranges for items in (0, 31, 32, 255, 1000, 50_000)] == [1, 1, 2, 8, 32, 64]


def test_more_items_are_divided_into_more_parts() -> None:
    assert [Division.of(items, 1).parts for items in (0, 255, 256, 1000, 50_000)] == [1, 1, 2, 4, 256]


def test_every_file_has_a_name_of_its_own() -> None:
    scratch = Scratch(located(Path("x")))
    names = [scratch.items, *(name(1) for name in (scratch.keys, scratch.key_runs, scratch.collisions))]
    names += [scratch.full_buckets(1), scratch.pairs(1), scratch.pairs(2)]
    assert len(set(names)) == len(names)
