"""The entries of a unit: every hash key of every item once, sorted by partition within each run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.dedup import key_worker, signature_table
from pipeline.dedup.candidates import PARTITIONS
from pipeline.dedup.key_worker import KeyWorker
from pipeline.dedup.scratch import Division, Scratch
from pipeline.dedup.signature_table import number_items
from pipeline.dedup.video_similarity import VideoSimilarity
from schemas.files import write_array
from schemas.storage.location import located
from tests.support.signatures import scene, signature, write_signatures

VIDEOS = [signature(f"{n}", scene(n, 2)) for n in range(4)]


@pytest.mark.parametrize("units", [1, 3])
@pytest.mark.parametrize(("flush_keys", "runs"), [(1 << 21, 1), (1, 4)])
def test_all_keys_of_a_block_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flush_keys: int, runs: int, units: int
) -> None:
    monkeypatch.setattr(key_worker, "_FLUSH_KEYS", flush_keys)
    monkeypatch.setattr(signature_table, "_SAMPLES", 1)  # one item at a time
    workspace = write_signatures(tmp_path / "w", VIDEOS, units=units)
    scratch = Scratch(located(tmp_path / "scratch"))
    items, _ = number_items(workspace, ("video",))
    write_array(scratch.items, items)
    with KeyWorker(workspace, scratch, (VideoSimilarity(),), Division(4, 1, 1, 1)).open() as write:
        write(0)
    entries, bounds = np.fromfile(scratch.keys(0).local(), "<u8"), np.load(scratch.key_runs(0).local())["bounds"]
    expected = sum(len(np.unique(VideoSimilarity().hash_keys(video))) for video in VIDEOS)
    assert bounds.shape == (runs, PARTITIONS + 1)
    assert bounds[-1, -1] == len(entries) == expected
    assert bounds[1:, 0].tolist() == bounds[:-1, -1].tolist()
    for start, end in zip(bounds[:, :-1].reshape(-1), bounds[:, 1:].reshape(-1), strict=True):
        assert np.all(np.diff(entries[start:end].astype(object)) > 0)
    assert set((entries >> np.uint64(6) & np.uint64((1 << 26) - 1)).tolist()) == {0, 1, 2, 3}  # numbers of items
