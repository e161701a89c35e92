from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.packing.assign import CHUNKS, RankCounter, pack_table, unpack_table
from pipeline.packing.chunks import documents_of
from pipeline.packing.config import PackConfig
from pipeline.packing.length_histograms import (
    count_lengths,
)
from pipeline.packing.mixture import Mixture
from schemas.records import TOKENS
from schemas.vocab import VISION
from tests.support.packing.local_packing import CONTEXT, make_jobs
from tests.support.packing.packing_cases import (
    KINDS,
    described,
    laid_out_sequences,
    make,
    tables_of,
)
from tests.support.token_stores import FRAME, StoredDocument, book, image, video

pytestmark = pytest.mark.slow


@given(
    specs=st.lists(KINDS, min_size=1, max_size=25),
    context=st.sampled_from([16, 33, 64, 200]),
    seed=st.integers(0, 9),
    epochs=st.sampled_from([{}, {"book": 2.0}, {"book": 0.0, "video": 1.5}]),
)
@settings(deadline=None, max_examples=80)
def test_every_token_of_every_copy_is_in_exactly_one_chunk(
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
    """Return the positions between frames, and all those in text spans that exceed the context."""
    allowed, at = set(), 0
    for modality, tokens, _, _ in document.runs:
        step = FRAME if modality == VISION else (1 if len(tokens) > context else len(tokens))
        allowed |= set(range(at + step, at + len(tokens) + 1, step))
        at += len(tokens)
    return allowed


@given(specs=st.lists(KINDS, min_size=2, max_size=15), order=st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=25)
def test_assignment_does_not_depend_on_row_order_or_number_of_units(
    specs: list[tuple[object, ...]], order: object
) -> None:
    documents = [make(i, spec) for i, spec in enumerate(specs)]
    shuffled = list(documents)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    one, jobs = make_jobs(tables_of(documents))
    for units in (1, 2, 7):  # the order of shard inputs differs as well
        other, others = make_jobs(tables_of(shuffled, units), seed=units)
        assert one.fingerprint == other.fingerprint
        assert described(jobs) == described(others)
    in_chunks = pa.concat_tables([*tables_of(shuffled, 1), TOKENS.empty_table()])
    assert make_jobs([in_chunks])[0].fingerprint == one.fingerprint


def test_short_books_fill_free_space_and_long_books_stay_contiguous() -> None:
    videos = [video(f"clip {i}", [9], cue=1) for i in range(20)]
    long, short = [book(f"long {i}", CONTEXT) for i in range(9)], [book(f"short {i}", 20) for i in range(15)]
    sequences = laid_out_sequences([*videos, *long, *short])["train"]
    whole = {name for sequence in sequences for name, _, _, length, _ in sequence if length == CONTEXT}
    assert whole == {d.id for d in long}


def test_sequences_are_shuffled_with_the_seed() -> None:
    documents = [video(f"video {i}", [11], cue=1) for i in range(60)]
    first, again, other = (laid_out_sequences(documents, 64, PackConfig(seed=s))["train"] for s in (0, 0, 1))
    assert first == again
    assert first != other
    assert sorted(first) == sorted(other)
    assert first != sorted(first)


def test_ranks_continue_across_units() -> None:
    units = [documents_of(table) for table in tables_of([book(f"book {i}", 20 + i % 2) for i in range(12)])]
    counted = [count_lengths(u, Mixture(), context_length=64, text_factor=1.0, seed=0).splits for u in units]
    counter = RankCounter()
    first, second = (counter.start(number, splits) for number, splits in enumerate(counted))
    assert first.texts["train"].tolist() == [0, 0]
    assert second.texts["train"].tolist() == counted[0]["train"].text.counts.tolist()


def test_a_serialized_table_is_restored() -> None:
    columns = {name: [i, i + 1] for i, name in enumerate(CHUNKS.names)}
    table = pa.table(columns, CHUNKS)
    assert unpack_table(pack_table(table), CHUNKS).equals(table)
