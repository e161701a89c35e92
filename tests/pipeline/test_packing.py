from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import patterns
from pipeline.bins import Bins, best_fit_decreasing, fewest_bins
from pipeline.cuts import Spans, cut_points, pour
from pipeline.packing import PackConfig, Plan, plan
from schemas.errors import ConfigError, DatasetError
from schemas.records import TOKENS
from schemas.vocab import TEXT, VISION
from tests.pipeline.stores import FRAME, VOCABULARY, StoredDocument, book, image, video

CONTEXT = 64


def table_of(documents: Sequence[StoredDocument]) -> pa.Table:
    return pa.Table.from_pylist([d.row() for d in documents], TOKENS)


def planned(documents: Sequence[StoredDocument], context: int = CONTEXT, config: PackConfig | None = None) -> Plan:
    return plan(table_of(documents), config or PackConfig(), context_length=context, vocabulary=VOCABULARY)


def described(made: Plan) -> dict[str, list[list[tuple[str, int, int, float]]]]:
    """Return what lies in each sequence, by document id."""
    ids = made.table["document_id"].to_pylist()
    result = {}
    for split, part in made.splits.items():
        columns = (part.document.tolist(), part.start.tolist(), part.length.tolist(), part.weight.tolist())
        pieces = [(ids[d], *rest) for d, *rest in zip(*columns, strict=True)]
        result[split] = [pieces[a:b] for a, b in itertools.pairwise(part.first.tolist())]
    return result


def plain_best_fit_decreasing(lengths: Sequence[int], capacity: int) -> list[int]:
    """One item after the other, every bin looked at: the rooms that are left."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [i for i, room in enumerate(rooms) if room >= length]
        if fitting:
            rooms[min(fitting, key=lambda i: rooms[i])] -= length
        else:
            rooms.append(capacity - length)
    return rooms


def fewest_by_trying(lengths: tuple[int, ...], capacity: int, rooms: tuple[int, ...] = ()) -> int:
    """Try every way to pack."""
    if not lengths:
        return len(rooms)
    first, rest = lengths[0], lengths[1:]
    choices = [(*rooms[:i], room - first, *rooms[i + 1 :]) for i, room in enumerate(rooms) if room >= first]
    return min(fewest_by_trying(rest, capacity, bins) for bins in [*choices, (*rooms, capacity - first)])


@given(data=st.data(), capacity=st.sampled_from([1, 7, 64, 1023, 1024, 5000]))
@settings(deadline=None, max_examples=150)
def test_packing_by_histogram_is_packing_one_by_one(data: st.DataObject, capacity: int) -> None:
    few = data.draw(st.lists(st.integers(1, capacity), min_size=1, max_size=8))
    lengths = data.draw(st.lists(st.sampled_from(few), max_size=120))
    ordered = np.array(sorted(lengths, reverse=True), np.int64)
    chosen, bins = best_fit_decreasing(ordered, capacity)
    assert sorted(bins.rooms().tolist()) == sorted(plain_best_fit_decreasing(lengths, capacity))
    filled = np.bincount(chosen, ordered, minlength=bins.count)
    assert np.array_equal(filled, capacity - bins.rooms())


def test_a_milliard_of_clips_is_a_handful_of_placements() -> None:
    bins = Bins(4096)
    placed = [p for length in (3858, 2058, 1030, 258) for p in bins.place(length, 10**9)]
    assert len(placed) < 20
    assert sum(p.bins * p.each for p in placed) == 4 * 10**9


@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=7), capacity=st.integers(20, 24))
@settings(deadline=None, max_examples=100)
def test_no_packing_goes_below_the_bound(lengths: list[int], capacity: int) -> None:
    bound = fewest_bins(np.array(lengths), capacity)
    assert -(-sum(lengths) // capacity) <= bound <= fewest_by_trying(tuple(lengths), capacity)


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=60),
    capacity=st.integers(50, 70),
    classes=st.sampled_from([3, 96]),
    work=st.sampled_from([30, 1 << 20]),
)
@settings(deadline=None, max_examples=60)
def test_packing_by_patterns_fits_every_item_in_one_bin(
    lengths: list[int], capacity: int, classes: int, work: int
) -> None:
    ordered = np.array(sorted(lengths, reverse=True), np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patterns, "_CLASSES", classes)
        patch.setattr(patterns, "_WORK", work)
        chosen, bins = patterns.pack_by_patterns(ordered, capacity)
        bound = patterns.fewest_by_patterns(ordered, capacity)
    filled = np.bincount(chosen, ordered, minlength=bins.count)
    assert filled.min() > 0
    assert np.array_equal(filled, capacity - bins.rooms())
    assert bins.rooms().min() >= 0
    assert bound <= min(bins.count, len(plain_best_fit_decreasing(lengths, capacity)))


@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=7), capacity=st.integers(20, 24))
@settings(deadline=None, max_examples=40)
def test_no_packing_goes_below_the_bound_by_patterns(lengths: list[int], capacity: int) -> None:
    bound = patterns.fewest_by_patterns(np.array(sorted(lengths, reverse=True)), capacity)
    assert bound <= fewest_by_trying(tuple(lengths), capacity)


def test_patterns_find_what_best_fit_misses() -> None:
    frames = np.random.default_rng(0).integers(9, 13, 3000)  # 31 fit: 12 + 10 + 9, but not 12 + 12 and anything else
    made = plan(clips(frames, np.full(3000, 1)), PackConfig(), context_length=8192, vocabulary=VOCABULARY)
    plain = len(plain_best_fit_decreasing((257 * frames + 5).tolist(), 8192))
    assert made.splits["train"].sequences < 0.95 * plain
    assert made.fill("train") >= 0.999 * made.best_fill("train")


def test_the_bound_sees_that_frames_do_not_divide_the_context() -> None:
    assert fewest_bins(np.full(150, 257), 4096) == 10  # 15 to a bin, though 15.9 would fit by tokens
    assert fewest_bins(np.array([600, 1000] * 500), 4096) == 200  # no sum of them lies in 4,001..4,096
    assert fewest_bins(np.array([6, 6, 6, 5]), 10) == 4  # halves do not share, and 5 fits beside no 6


@given(
    lengths=st.lists(st.integers(2, 90), max_size=12),
    gaps=st.lists(st.integers(0, 12), max_size=25).map(lambda gaps: sorted(gaps, reverse=True)),
    context=st.integers(16, 40),
)
@settings(deadline=None, max_examples=300)
def test_poured_texts_lie_in_the_gaps_whole_and_in_order(lengths: list[int], gaps: list[int], context: int) -> None:
    texts, rooms = np.array(lengths, np.int64), np.array(gaps, np.int64)
    poured = pour(texts, rooms, context_length=context)
    assert (poured.length >= 2).all()
    for i, length in enumerate(lengths):
        mine = poured.text == i
        assert np.array_equal(np.cumsum(poured.length[mine]) - poured.length[mine], poured.start[mine])
        assert poured.length[mine].sum() == length
    count = max([len(gaps), *(poured.gap + 1).tolist()])
    room = np.concatenate([rooms, np.full(count - len(gaps), context)])
    filled = np.bincount(poured.gap, poured.length, minlength=count)
    assert (filled <= room).all()
    # Before the last gap that is used, each text leaves two places empty at most, and gaps of two may stay empty.
    before = slice(0, int(poured.gap.max(initial=0)))
    left = (room - filled)[before][room[before] > 2].sum()
    assert left <= 2 * len(lengths)


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
    specs=st.lists(KINDS, min_size=1, max_size=25), context=st.sampled_from([16, 33, 64, 200]), seed=st.integers(0, 9)
)
@settings(deadline=None, max_examples=150)
def test_every_token_of_every_document_lies_in_one_place(
    specs: list[tuple[object, ...]], context: int, seed: int
) -> None:
    documents = {d.id: d for d in itertools.starmap(make, enumerate(specs))}
    made = planned(list(documents.values()), context, PackConfig(seed=seed))
    pieces: dict[str, list[tuple[int, int]]] = {}
    for split, sequences in described(made).items():
        assert made.splits[split].fewest <= len(sequences)
        for sequence in sequences:
            assert 0 < sum(length for _, _, length, _ in sequence) <= context
            books = [documents[name].kind == "book" for name, *_ in sequence]
            assert books == sorted(books)
            for name, start, length, _ in sequence:
                assert length >= 2
                assert documents[name].split == split
                pieces.setdefault(name, []).append((start, length))
    assert pieces.keys() == documents.keys()
    for name, document in documents.items():
        ends = np.cumsum([length for _, length in sorted(pieces[name])])
        assert [start for start, _ in sorted(pieces[name])] == [0, *ends[:-1].tolist()]
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


@given(specs=st.lists(KINDS, min_size=2, max_size=15), order=st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=50)
def test_the_order_of_the_rows_does_not_matter(specs: list[tuple[object, ...]], order: object) -> None:
    documents = [make(i, spec) for i, spec in enumerate(specs)]
    shuffled = list(documents)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = planned(documents), planned(shuffled)
    assert one.fingerprint == other.fingerprint
    assert described(one) == described(other)
    in_chunks = pa.concat_tables([table_of(shuffled[:1]), table_of(shuffled[1:])])
    again = plan(in_chunks, PackConfig(), context_length=CONTEXT, vocabulary=VOCABULARY)
    assert again.fingerprint == one.fingerprint


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
        {"start": end - length, "length": length, "modality": modality}
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
    made = plan(pa.concat_tables([videos, texts]), PackConfig(), context_length=context, vocabulary=VOCABULARY)
    assert made.best_fill("train") - made.fill("train") <= 0.001 * made.best_fill("train")
    assert made.splits["train"].sequences <= made.splits["train"].fewest + 1  # all but the last are full


@pytest.mark.parametrize("context", [4096, 16384])
def test_clips_alone_come_as_close_to_the_bound_as_frames_allow(context: int) -> None:
    frames = np.random.default_rng(1).geometric(0.1, 5000)
    made = plan(clips(frames, np.full(5000, 1)), PackConfig(), context_length=context, vocabulary=VOCABULARY)
    assert made.fill("train") >= 0.999 * made.best_fill("train")
    if context == 4096:
        assert made.best_fill("train") < 0.96  # 15 frames of 257, and a few tokens beside them


def test_tails_of_long_videos_are_threaded_through_the_gaps() -> None:
    # Four of 23 frames are 92, six sequences of 15 and 2 more. Cut into 15 and a tail of 8 each, they would need 8.
    videos = [video(f"long {i}", [23], cue=1) for i in range(4)]
    made = planned(videos, 15 * FRAME + 4)
    assert made.splits["train"].sequences == made.splits["train"].fewest == 7


def test_short_books_fill_the_gaps_and_long_ones_stay_long() -> None:
    videos = [video(f"clip {i}", [9], cue=1) for i in range(20)]
    long, short = [book(f"long {i}", CONTEXT) for i in range(9)], [book(f"short {i}", 20) for i in range(15)]
    sequences = described(planned([*videos, *long, *short]))["train"]
    whole = {name for sequence in sequences for name, _, length, _ in sequence if length == CONTEXT}
    assert whole == {d.id for d in long}


def test_the_order_of_sequences_is_a_seeded_shuffle() -> None:
    documents = [video(f"video {i}", [11], cue=1) for i in range(60)]
    first, again, other = (described(planned(documents, 64, PackConfig(seed=s)))["train"] for s in (0, 0, 1))
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
        ([book("a", 9), book("a", 9)], "in the token store twice"),
        ([StoredDocument("a", "book", [(TEXT, np.ones(1), None, None)])], "has 1 tokens; the least is 2"),
        ([StoredDocument("a", "song", [(TEXT, np.ones(3), None, None)])], "the kind 'song'"),
        ([StoredDocument("a", "book", [(TEXT, np.ones(3), None, None)], facts={"length": 4})], "do not cover its 4"),
        ([video("a", [20], frame=5), StoredDocument("b", "book", [], facts={"length": 4})], "do not cover its 4"),
    ],
)
def test_rows_that_cannot_be_right_are_refused(documents: list[StoredDocument], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        planned(documents)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_weighting": "row"}, "loss_weighting must be 'token' or 'document', got 'row'"),
        ({"text_weight": -1.0}, "text_weight must be a finite number of at least 0, got -1.0"),
        ({"vision_weight": float("nan")}, "vision_weight must be a finite"),
        ({"text_weight": 0.0, "vision_weight": 0.0}, "both 0"),
        ({"shard_bytes": 0}, "shard_bytes must be at least 1, got 0"),
    ],
)
def test_a_configuration_that_cannot_be_right_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PackConfig(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("context", [0, 15, 1 << 31])
def test_a_context_out_of_range_is_refused(context: int) -> None:
    with pytest.raises(ConfigError, match="context_length must lie in 16"):
        planned([book("a", 9)], context)


@pytest.mark.parametrize("change", ["title", "licence", "fingerprint", "uri"])
def test_whatever_a_dataset_shows_of_a_document_is_in_the_fingerprint(change: str) -> None:
    one = [book("a", 30), video("b", [3, 4])]
    other = [one[0], StoredDocument("b", "video", one[1].runs, FRAME, facts={change: "another"})]
    moved = [StoredDocument("a", "book", one[0].runs, facts={"unit": 7, "batch": 1, "row": 2}), one[1]]
    assert planned(one).fingerprint != planned(other).fingerprint
    assert planned(one).fingerprint == planned(moved).fingerprint
    assert planned(one).fingerprint != planned(one, config=PackConfig(seed=1)).fingerprint
    assert planned(one).fingerprint != planned(one, 65).fingerprint
