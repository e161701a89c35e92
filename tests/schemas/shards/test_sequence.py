from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.dataset import DatasetCard, read_card
from schemas.errors import DatasetError
from schemas.packed import SPAN_DTYPE
from schemas.shards.sequence import Chunk, PackedSequence, chunks_json, read_sequence, sequence_bytes
from tests.support.training.training_dataset import write_dataset

KEY = "train-000000000"


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> DatasetCard:
    directory: Path = write_dataset(tmp_path_factory.mktemp("dataset"), context=64, train=1, val=0)
    return read_card(directory)


def packed(card: DatasetCard) -> PackedSequence:
    tokens = np.arange(card.context_length, dtype=card.vocabulary.dtype)
    spans = np.array([(0, card.context_length, 0, 0, 1.0)], SPAN_DTYPE)
    return PackedSequence(key=KEY, tokens=tokens, spans=spans, chunks=[Chunk("ä", 0, 3, card.context_length)])


def test_read_sequence_returns_what_sequence_bytes_wrote(card: DatasetCard) -> None:
    sequence = packed(card)
    found = read_sequence(sequence_bytes(sequence), KEY, card)
    assert np.array_equal(found.tokens, sequence.tokens)
    assert np.array_equal(found.spans, sequence.spans)
    assert (found.key, found.chunks) == (KEY, sequence.chunks)


@given(at=st.integers(0, 10_000), value=st.integers(1, 255))
def test_every_changed_byte_is_rejected_or_changes_a_value(card: DatasetCard, at: int, value: int) -> None:
    block = bytearray(sequence_bytes(packed(card)))
    block[at % len(block)] ^= value
    try:
        found = read_sequence(bytes(block), KEY, card)
    except DatasetError:
        return
    assert sequence_bytes(found) == bytes(block)


@pytest.mark.parametrize("extra", [b"x", bytes(512)])
def test_bytes_after_the_last_member_are_rejected(card: DatasetCard, extra: bytes) -> None:
    with pytest.raises(DatasetError, match=f"{len(extra)} bytes follow {KEY}.json"):
        read_sequence(sequence_bytes(packed(card)) + extra, KEY, card)


def test_another_key_is_rejected(card: DatasetCard) -> None:
    with pytest.raises(DatasetError, match="expected the normalized tar header of train-000000001.tokens.npy"):
        read_sequence(sequence_bytes(packed(card)), "train-000000001", card)


def test_chunks_are_listed_as_compact_json() -> None:
    assert chunks_json([Chunk("a", 1, 2, 3)]) == b'{"documents":[{"id":"a","copy":1,"start":2,"length":3}]}'
