"""Candidates of a range are compared, and those that share content are written with the counts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.dedup.candidates import PAIR, SEVERAL
from pipeline.dedup.comparison_worker import COUNTS, ComparisonWorker
from pipeline.dedup.scratch import Division, Scratch
from pipeline.dedup.signature_table import number_items
from pipeline.dedup.video_similarity import VideoSimilarity
from pipeline.runtime.workspace import Workspace
from schemas.files import write_array, write_json
from schemas.storage.location import located
from tests.support.signatures import scene, signature, write_signatures

COPIES = sorted((signature(f"{n}", scene(1, 3)) for n in range(3)), key=lambda s: s.content_id)
ONE_SAMPLE, TWO_SAMPLES = (3, 3, SEVERAL - 3, SEVERAL - 3), (0, 0, 0, 0)


def collisions(*pairs: tuple[int, int, int, tuple[int, ...]]) -> np.ndarray:
    found = np.zeros(len(pairs), PAIR)
    for i, (one, other, count, marks) in enumerate(pairs):
        found[i] = (one << 32 | other, count, marks)
    return found


@pytest.fixture
def prepared(tmp_path: Path) -> tuple[Workspace, Scratch]:
    """Three equal videos; the first two pairs of them collide in one frame only."""
    workspace: Workspace = write_signatures(tmp_path / "w", COPIES, units=2)
    scratch = Scratch(located(tmp_path / "scratch"))
    write_array(scratch.items, number_items(workspace, ("video",))[0])
    write_array(
        scratch.collisions(0),
        collisions((0, 1, 2, ONE_SAMPLE), (0, 2, 8, ONE_SAMPLE), (1, 2, 2, TWO_SAMPLES)),
    )
    write_json(scratch.full_buckets(0), {"full": 5})
    return workspace, scratch


@pytest.mark.parametrize("ranges", [1, 3])
def test_pairs_with_enough_collisions_are_compared(prepared: tuple[Workspace, Scratch], ranges: int) -> None:
    workspace, scratch = prepared
    found, counts = [], []
    with ComparisonWorker(workspace, scratch, (VideoSimilarity(),), Division(3, 1, ranges, 1)).open() as compare:
        for number in range(ranges):
            compare(number)
            found += pq.read_table(scratch.pairs(number).local()).to_pylist()
            counts.append(json.loads(pq.read_metadata(scratch.pairs(number).local()).metadata[COUNTS.encode()]))
    ids = [one.content_id for one in COPIES]
    assert [(row["a"], row["b"]) for row in found] == [(ids[0], ids[2]), (ids[1], ids[2])]
    assert all(row["containment_a"] == row["containment_b"] == 1 for row in found)
    assert sum(count["candidates"] for count in counts) == 2
    assert sum(count["full buckets"] for count in counts) == 5
