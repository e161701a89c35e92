from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.packing.config import PackConfig
from pipeline.packing.cut_points import Spans, cut_points
from pipeline.packing.mixture import Mixture
from pipeline.packing.plan import DatasetPlan
from pipeline.packing.shards import ShardJob
from schemas.errors import ConfigError, DatasetError
from schemas.fingerprint import bucket
from schemas.records import TOKENS
from schemas.vocab import TEXT, VISION
from tests.support.local_packing import CONTEXT, make_jobs
from tests.support.token_stores import FRAME, StoredDocument, book, image, video

ANYWHERE = PackConfig(sentence_reach=0.0)


def tables_of(documents: Sequence[StoredDocument], units: int = 2) -> list[pa.Table]:
    rows = [[d.row() for d in documents if bucket(d.id, units) == unit] for unit in range(units)]
    return [pa.Table.from_pylist(some, TOKENS) for some in rows]


def planned(documents: Sequence[StoredDocument], context: int = CONTEXT, config: PackConfig = ANYWHERE) -> DatasetPlan:
    return make_jobs(tables_of(documents), config, context=context)[0]


Chunk = tuple[str, int, int, int, float]  # id, copy, start, length, weight


def described(jobs: Sequence[ShardJob]) -> dict[str, list[list[Chunk]]]:
    """Return what lies in each sequence of each split."""
    result: dict[str, list[list[Chunk]]] = {}
    for job in jobs:
        ids = job.documents["document_id"].to_pylist()
        document, *rest, first = (column.tolist() for column in job.chunks)
        chunks = [(ids[d], *others) for d, *others in zip(document, *rest, strict=True)]
        result.setdefault(job.split, []).extend(chunks[a:b] for a, b in itertools.pairwise(first))
    return result


def laid_out(
    documents: Sequence[StoredDocument], context: int = CONTEXT, config: PackConfig = ANYWHERE
) -> dict[str, list[list[Chunk]]]:
    return described(make_jobs(tables_of(documents), config, context=context)[1])


KINDS = st.one_of(
    st.tuples(st.just("book"), st.integers(2, 200)),
    st.tuples(st.just("video"), st.lists(st.integers(1, 30), min_size=1, max_size=3), st.integers(0, 90)),
    st.tuples(st.just("image"), st.integers(1, 90)),
)


def make(i: int, spec: tuple[object, ...]) -> StoredDocument:
    split = "val" if i % 5 == 4 else "train"
    match spec:
        case ("book", int(length)):
            return book(f"book {i}", length, split=split)
        case ("video", list(runs), int(cue)):
            return video(f"video {i}", runs, cue=cue + 1, split=split)
        case (_, int(caption)):
            return image(f"image {i}", caption=caption, split=split)
    raise AssertionError(spec)


@given(
    specs=st.lists(KINDS, min_size=1, max_size=25),
    context=st.sampled_from([16, 33, 64, 200]),
    seed=st.integers(0, 9),
    epochs=st.sampled_from([{}, {"book": 2.0}, {"book": 0.0, "video": 1.5}]),
)
@settings(deadline=None, max_examples=80)
def test_every_token_of_every_document_lies_in_one_place(
    specs: list[tuple[object, ...]], context: int, seed: int, epochs: dict[str, float]
) -> None:
    documents = {d.id: d for d in itertools.starmap(make, enumerate(specs))}
    config = PackConfig(seed=seed, mixture=Mixture(kind_epochs=epochs))
    always = image("always there", split="val")
    documents[always.id] = always
    made, jobs = make_jobs(tables_of(list(documents.values())), config, context=context)
    chunks: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for split, sequences in described(jobs).items():
        assert made.splits[split].min_sequences <= len(sequences) == made.splits[split].sequences
        assert sum(chunk[3] for some in sequences for chunk in some) == made.splits[split].tokens
        for sequence in sequences:
            assert 0 < sum(length for _, _, _, length, _ in sequence) <= context
            books = [documents[name].kind == "book" for name, *_ in sequence]
            assert books == sorted(books)
            for name, copy, start, length, _ in sequence:
                assert length > 0
                assert documents[name].split == split
                chunks.setdefault((name, copy), []).append((start, length))
    for name, document in documents.items():
        asked = epochs.get(document.kind, 1.0)
        wanted = asked if document.split == "train" else min(1.0, np.ceil(asked))
        copies = [copy for other, copy in chunks if other == name]
        assert int(wanted) <= len(copies) <= np.ceil(wanted)
        assert sorted(copies) == list(range(len(copies)))
        for copy in copies:
            some = sorted(chunks[name, copy])
            ends = np.cumsum([length for _, length in some])
            assert [start for start, _ in some] == [0, *ends[:-1].tolist()]
            assert ends[-1] == len(document.tokens)
            if document.kind != "book":
                assert len(ends) == 1 or ends[-1] > context
                assert set(ends.tolist()) <= allowed_cuts(document, context)


def allowed_cuts(document: StoredDocument, context: int) -> set[int]:
    """Frame by frame, and within a text only where it exceeds the context."""
    allowed, at = set(), 0
    for modality, tokens, _, _ in document.runs:
        step = FRAME if modality == VISION else (1 if len(tokens) > context else len(tokens))
        allowed |= set(range(at + step, at + len(tokens) + 1, step))
        at += len(tokens)
    return allowed


def test_patterns_find_what_best_fit_misses() -> None:
    frames = np.random.default_rng(0).integers(9, 13, 3000)  # 31 fit: 12 + 10 + 9, but not 12 + 12 and anything else
    made, _ = make_jobs([clips(frames, np.full(3000, 1))], ANYWHERE, context=8192)
    plain = -(-3000 // 2) * 0.88  # what best fit needs, which pairs the longest
    assert made.splits["train"].sequences < 0.95 * plain
    assert made.fill("train") >= 0.999 * made.best_fill("train")


@given(specs=st.lists(KINDS, min_size=2, max_size=15), order=st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=25)
def test_the_order_of_the_rows_does_not_matter(specs: list[tuple[object, ...]], order: object) -> None:
    documents = [make(i, spec) for i, spec in enumerate(specs)]
    shuffled = list(documents)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    one, jobs = make_jobs(tables_of(documents))
    for units in (1, 2, 7):  # nor does the number of units, nor the order in which shard_inputs arrive
        other, others = make_jobs(tables_of(shuffled, units), seed=units)
        assert one.fingerprint == other.fingerprint
        assert described(jobs) == described(others)
    in_chunks = pa.concat_tables([*tables_of(shuffled, 1), TOKENS.empty_table()])
    assert make_jobs([in_chunks])[0].fingerprint == one.fingerprint


def clips(frames: np.ndarray, captions: np.ndarray, patch: int = 256) -> pa.Table:
    """Return rows of videos with a caption before, as Longreel's own documents have them."""
    rows = []
    for i, (count, caption) in enumerate(zip(frames.tolist(), captions.tolist(), strict=True)):
        parts = ((caption + 2, TEXT), (count * (patch + 1), VISION), (2, TEXT))
        rows.append(shape(f"clip {i}", "video", parts, frame_tokens=patch + 1, frames=count))
    return pa.Table.from_pylist(rows, TOKENS)


def books(lengths: np.ndarray) -> pa.Table:
    return pa.Table.from_pylist([shape(f"b {i}", "book", ((n, TEXT),)) for i, n in enumerate(lengths.tolist())], TOKENS)


def shape(
    name: str, kind: str, parts: tuple[tuple[int, int], ...], *, frame_tokens: int = 0, frames: int = 0
) -> dict[str, object]:
    ends = np.cumsum([length for length, _ in parts]).tolist()
    spans = [
        {"start": end - length, "length": length, "modality": modality, "weight": 1.0}
        for end, (length, modality) in zip(ends, parts, strict=True)
    ]
    facts = {"document_id": name, "fingerprint": "f", "kind": kind, "split": "train", "uri": name, "length": ends[-1]}
    frame = {"frame_tokens": frame_tokens, "frames": frames, "frames_promised": frames, "spans": spans}
    return dict.fromkeys(TOKENS.names) | {"unit": 0, "batch": 0, "row": 0} | facts | frame


@pytest.mark.parametrize("context", [4096, 32768, 131072])
def test_clips_and_books_fill_the_context(context: int) -> None:
    rng = np.random.default_rng(context)
    videos = clips(rng.geometric(0.08, 4000), rng.integers(5, 60, 4000))
    texts = books(np.exp(rng.normal(11, 1, 150)).astype(np.int64))
    made, _ = make_jobs([pa.concat_tables([videos, texts])], ANYWHERE, context=context)
    assert made.best_fill("train") - made.fill("train") <= 0.001 * made.best_fill("train")
    assert made.splits["train"].sequences <= made.splits["train"].min_sequences + 1  # all but the last are full


@pytest.mark.parametrize("context", [4096, 16384])
def test_clips_alone_come_as_close_to_the_bound_as_frames_allow(context: int) -> None:
    frames = np.random.default_rng(1).geometric(0.1, 5000)
    made, _ = make_jobs([clips(frames, np.full(5000, 1))], ANYWHERE, context=context)
    assert made.fill("train") >= 0.999 * made.best_fill("train")
    if context == 4096:
        assert made.best_fill("train") < 0.96  # 15 frames of 257, and a few tokens beside them


def test_short_books_fill_the_gaps_and_long_ones_stay_long() -> None:
    videos = [video(f"clip {i}", [9], cue=1) for i in range(20)]
    long, short = [book(f"long {i}", CONTEXT) for i in range(9)], [book(f"short {i}", 20) for i in range(15)]
    sequences = laid_out([*videos, *long, *short])["train"]
    whole = {name for sequence in sequences for name, _, _, length, _ in sequence if length == CONTEXT}
    assert whole == {d.id for d in long}


def test_the_order_of_sequences_is_a_seeded_shuffle() -> None:
    documents = [video(f"video {i}", [11], cue=1) for i in range(60)]
    first, again, other = (laid_out(documents, 64, PackConfig(seed=s))["train"] for s in (0, 0, 1))
    assert first == again
    assert first != other
    assert sorted(first) == sorted(other)
    assert first != sorted(first)


@given(length=st.integers(1, 100), frames=st.integers(1, 30), context=st.integers(16, 60))
@settings(deadline=None, max_examples=40)
def test_a_text_within_a_video_is_cut_only_where_it_exceeds_the_context(length: int, frames: int, context: int) -> None:
    spans = Spans(
        np.array([0, length, length + FRAME * frames]),
        np.array([length, FRAME * frames, 2]),
        np.array([0, 1, 0], np.int8),
    )
    points = cut_points(spans, frame_tokens=FRAME, context_length=context, where="it")
    inside = points[points < length]
    assert len(inside) == (length - 1 if length > context else 0)
    assert np.array_equal(points[points >= length][: frames + 1], length + FRAME * np.arange(frames + 1))


def test_a_frame_longer_than_the_context_is_an_error_that_says_so() -> None:
    with pytest.raises(ConfigError, match=r"context_length 16 is shorter than one frame of document .* \(20 tokens\)"):
        planned([video("big", [2], frame=20)], 16)


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([], "no document to pack"),
        ([StoredDocument("a", "book", [(TEXT, np.ones(0), None, None)], facts={"spans": []})], "pack: 1 empty"),
        ([book("a", 9), book("a", 9)], "in the token store twice"),
        ([StoredDocument("a", "song", [(TEXT, np.ones(3), None, None)])], "the kind 'song'"),
        ([StoredDocument("a", "book", [(TEXT, np.ones(3), None, None)], facts={"length": 4})], "do not cover its 4"),
        ([video("a", [20], frame=5), StoredDocument("b", "book", [], facts={"length": 4})], "do not cover its 4"),
    ],
)
def test_rows_that_cannot_be_right_are_refused(documents: list[StoredDocument], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        make_jobs([pa.Table.from_pylist([d.row() for d in documents], TOKENS)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_weighting": "row"}, "loss_weighting must be 'token' or 'document', got 'row'"),
        ({"text_weight": -1.0}, "text_weight must be a finite number of at least 0, got -1.0"),
        ({"vision_weight": float("nan")}, "vision_weight must be a finite"),
        ({"text_weight": 0.0, "vision_weight": 0.0}, "both 0"),
        ({"shard_bytes": 0}, "shard_bytes must be at least 1, got 0"),
        ({"attention": "row"}, "attention must be one of document, sequence, got 'row'"),
        ({"sentence_reach": 0.5}, "sentence_reach must lie in 0..0.25, got 0.5"),
    ],
)
def test_a_configuration_that_cannot_be_right_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PackConfig(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("context", [0, 15, 1 << 31])
def test_a_context_out_of_range_is_refused(context: int) -> None:
    with pytest.raises(ConfigError, match="context_length must lie in 16"):
        planned([book("a", 9)], context)


@pytest.mark.parametrize("change", ["title", "license", "fingerprint", "uri"])
def test_whatever_a_dataset_shows_of_a_document_is_in_the_fingerprint(change: str) -> None:
    one = [book("a", 30), video("b", [3, 4])]
    other = [one[0], StoredDocument("b", "video", one[1].runs, FRAME, facts={change: "another"})]
    moved = [StoredDocument("a", "book", one[0].runs, facts={"unit": 7, "batch": 1, "row": 2}), one[1]]
    assert planned(one).fingerprint != planned(other).fingerprint
    assert planned(one).fingerprint == planned(moved).fingerprint
    assert planned(one).fingerprint != planned(one, config=replace(ANYWHERE, seed=1)).fingerprint
    assert planned(one).fingerprint != planned(one, 65).fingerprint
