from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from schemas.errors import DamagedSequence, DatasetError
from schemas.packed import SPAN_DTYPE
from schemas.shards.index import checksum_of_sequence
from schemas.shards.ranged import SequenceFile
from schemas.shards.sequence import Chunk, PackedSequence, sequence_bytes

TOKENS = np.arange(2000, dtype="<u2")
SPANS = np.array([(0, 2000, 0, 0, 1.0)], SPAN_DTYPE)
BLOCK = sequence_bytes(
    PackedSequence(key="train-000000000", tokens=TOKENS, spans=SPANS, chunks=[Chunk("a", 0, 0, 2000)])
)

CHECKSUM = checksum_of_sequence(BLOCK)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "shard.tar"
    path.write_bytes(b"before" + BLOCK + b"after")
    return path


@pytest.mark.parametrize("fetch", [False, True])
def test_ranges_and_spans_are_those_that_were_written(path: Path, fetch: bool) -> None:
    with SequenceFile(path, 6, 6 + len(BLOCK), "here", checksum=CHECKSUM) as sequence:
        if fetch:
            sequence.fetch()
        tokens, end = sequence.tokens(TOKENS.dtype, 2000, np.array([[3, 10], [1990, 2000]]))
        assert tokens.tolist() == [*range(3, 10), *range(1990, 2000)]
        assert np.array_equal(sequence.spans(end), SPANS)


@pytest.mark.parametrize("length", [1999, 2001])
def test_tokens_of_another_length_are_an_error(path: Path, length: int) -> None:
    with (
        SequenceFile(path, 6, 6 + len(BLOCK), "here", checksum=CHECKSUM) as sequence,
        pytest.raises(DatasetError, match=rf"here: tokens are uint16 \(2000,\), the card says uint16 \({length},\)"),
    ):
        sequence.tokens(TOKENS.dtype, length, np.array([[0, 1]]))


def test_a_shard_that_ends_early_is_an_error(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])
    with (
        SequenceFile(path, 6, 6 + len(BLOCK), "here", checksum=CHECKSUM) as sequence,
        pytest.raises(DatasetError, match="truncated"),
    ):
        sequence.fetch()


def test_a_missing_shard_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(DatasetError, match="here: cannot be read: No such file"),
        SequenceFile(tmp_path / "x", 0, 9, "here", checksum=CHECKSUM),
    ):
        pass


@pytest.mark.parametrize("at", [0, 700, len(BLOCK) - 1])
def test_an_altered_byte_is_an_error(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[6 + at] ^= 1
    path.write_bytes(data)
    with (
        SequenceFile(path, 6, 6 + len(BLOCK), "here", checksum=CHECKSUM) as sequence,
        pytest.raises(DamagedSequence, match="here: its bytes were altered"),
    ):
        sequence.fetch()
