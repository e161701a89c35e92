"""Collisions of all units together, whatever the parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.dedup import collision_worker
from pipeline.dedup.candidates import bucket_entries, merge_pairs, sorted_entries, split_pair
from pipeline.dedup.collision_worker import CollisionWorker
from pipeline.dedup.key_runs import describe_run
from pipeline.dedup.scratch import Division, Scratch
from schemas.files import read_json, write_array
from schemas.storage.location import located


def write_keys(scratch: Scratch, block: int, keys: list[int], item: int) -> None:
    """Write the entries of a block of units that has one item."""
    partitions, entries = sorted_entries(*bucket_entries(np.array([keys], np.uint64), np.array([item]), 0))
    scratch.keys(block).write(entries.astype("<u8").tobytes())
    write_array(scratch.key_runs(block), describe_run(partitions, entries, start=0))


@pytest.mark.parametrize(("parts", "max_entries"), [(1, 1 << 22), (4, 1 << 22), (4, 1), (1, 3)])
def test_items_of_different_blocks_collide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int, max_entries: int
) -> None:
    monkeypatch.setattr(collision_worker, "_MAX_ENTRIES", max_entries)
    scratch = Scratch(located(tmp_path / "scratch"))
    for block, keys in enumerate(([1, 2, 3, 9], [2, 3, 4], [5, 6, 3])):
        write_keys(scratch, block, keys, block)
    with CollisionWorker(scratch, 2, Division(3, parts, 1, 3)).open() as count:
        for part in range(parts):
            count(part)
    pairs = merge_pairs([np.load(scratch.collisions(part).local()) for part in range(parts)])
    counts = zip(*(side.tolist() for side in split_pair(pairs["pair"])), pairs["collisions"].tolist(), strict=True)
    assert list(counts) == [(0, 1, 2), (0, 2, 1), (1, 2, 1)]
    assert sum(read_json(scratch.full_buckets(part))["full"] for part in range(parts)) == 1  # that of key 3
