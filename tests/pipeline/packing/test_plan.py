from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.packing.config import PackConfig
from pipeline.packing.plan import VERSION
from schemas.dataset_files import plain_name
from tests.support.golden import check_golden
from tests.support.packing.local_packing import make_jobs, pack_documents
from tests.support.packing.packing_cases import ANYWHERE, books, clips, packed_plan
from tests.support.stored_files import index_of
from tests.support.token_stores import FRAME, StoredDocument, book, image, qa, video

DOCUMENTS = [
    *(book(f"book {i}", 11 * i + 30) for i in range(4)),
    *(video(f"video {i}", [i + 1, 3]) for i in range(5)),
    image("image"),
    video("long", [40, 7]),
    qa("qa", [(3, 4), (5, 2)]),
    book("held out", 90, split="val"),
]


def test_packed_bytes_of_this_version_are_unchanged(tmp_path: Path) -> None:
    directory = pack_documents(tmp_path, DOCUMENTS, PackConfig(shard_bytes=16_000))
    check_golden("packed_shards", VERSION, {plain_name(shard.url): shard.sha256 for shard in index_of(directory)})


@pytest.mark.parametrize("change", ["title", "license", "fingerprint", "uri"])
def test_the_fingerprint_covers_documents_configuration_and_context(change: str) -> None:
    one = [book("a", 30), video("b", [3, 4])]
    other = [one[0], StoredDocument("b", "video", one[1].runs, FRAME, facts={change: "another"})]
    moved = [StoredDocument("a", "book", one[0].runs, facts={"unit": 7, "batch": 1, "row": 2}), one[1]]
    assert packed_plan(one).fingerprint != packed_plan(other).fingerprint
    assert packed_plan(one).fingerprint == packed_plan(moved).fingerprint
    assert packed_plan(one).fingerprint != packed_plan(one, config=replace(ANYWHERE, seed=1)).fingerprint
    assert packed_plan(one).fingerprint != packed_plan(one, 65).fingerprint


@pytest.mark.slow
@pytest.mark.parametrize("context", [4096, 32768, 131072])
def test_clips_and_books_fill_sequences_to_within_0_1_percent_of_the_bound(context: int) -> None:
    rng = np.random.default_rng(context)
    videos = clips(rng.geometric(0.08, 4000), rng.integers(5, 60, 4000))
    texts = books(np.exp(rng.normal(11, 1, 150)).astype(np.int64))
    made, _ = make_jobs([pa.concat_tables([videos, texts])], ANYWHERE, context=context)
    assert made.best_fill("train") - made.fill("train") <= 0.001 * made.best_fill("train")
    assert (
        made.splits["train"].sequences <= made.splits["train"].min_sequences + 1
    )  # at most one sequence above the lower bound


@pytest.mark.slow
@pytest.mark.parametrize("context", [4096, 16384])
def test_clips_fill_sequences_to_within_0_1_percent_of_the_bound(context: int) -> None:
    frames = np.random.default_rng(1).geometric(0.1, 5000)
    made, _ = make_jobs([clips(frames, np.full(5000, 1))], ANYWHERE, context=context)
    assert made.fill("train") >= 0.999 * made.best_fill("train")
    if context == 4096:
        assert made.best_fill("train") < 0.96  # 15 frames of 257 and a few tokens


def test_shards_contain_every_sequence_once_and_differ_by_at_most_one() -> None:
    split = packed_plan(
        [video(f"video {i}", [11], cue=1) for i in range(50)], 64, PackConfig(shard_bytes=4_000)
    ).splits["train"]
    first = [split.first_sequence(shard) for shard in range(split.shards + 1)]
    assert (first[0], first[-1]) == (0, split.sequences)
    assert split.shards > 3
    assert np.ptp(np.diff(first)) <= 1
    expected = np.repeat(np.arange(split.shards), np.diff(first))
    assert np.array_equal(split.shard_of(np.arange(split.sequences)), expected)
