"""One packed sequence in a shard: `KEY.tokens.npy`, `KEY.spans.npy` and `KEY.json`, one tar member each.

`sequence_bytes` writes a sequence and `read_sequence` reads it back. Reading is strict: it accepts only the bytes that
`sequence_bytes` writes, so pickles, oversized shapes and additional tar members are rejected before they are used.
`schemas.shards.ranged` reads parts of a sequence without this check.

Axes: S sequence, M spans.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.dataset import DatasetCard
from schemas.errors import DatasetError
from schemas.packed import SPAN_DTYPE
from schemas.shards.npy import npy_header, npy_parts
from schemas.shards.tar import BLOCK, member_header, member_parts, padded_size, parse_header

TOKENS_MEMBER, SPANS_MEMBER, CHUNKS_MEMBER = "tokens.npy", "spans.npy", "json"
_MAX_TOKENS = 1 << 62  # offsets and lengths are stored as int64
_MAX_COPIES = 1 << 31


@dataclass(frozen=True, slots=True)
class Chunk:
    """One entry of KEY.json: tokens [start, start + length) of one copy of a document.

    `id` is that of the document, `copy` counts from 0.
    """

    id: str
    copy: int
    start: int
    length: int


@dataclass(frozen=True, eq=False)
class PackedSequence:
    """A sequence: its key, tokens [S] (uint16 or uint32), spans [M] (SPAN_DTYPE) and chunks, in order.

    SPAN_DTYPE has the fields start and length (int32, in tokens), document (int32, an index of `chunks`), modality
    (int8: 0 text, 1 frames) and weight (float32).
    """

    key: str
    tokens: NDArray[Any]
    spans: NDArray[Any]
    chunks: list[Chunk]


def sequence_bytes(sequence: PackedSequence) -> bytes:
    """Return the tar members of a sequence."""
    key = sequence.key
    return b"".join(
        (
            *member_parts(f"{key}.{TOKENS_MEMBER}", *npy_parts(sequence.tokens)),
            *member_parts(f"{key}.{SPANS_MEMBER}", *npy_parts(sequence.spans)),
            *member_parts(f"{key}.{CHUNKS_MEMBER}", chunks_json(sequence.chunks)),
        )
    )


def chunks_json(chunks: Sequence[Chunk]) -> bytes:
    """Return the content of KEY.json."""
    rows = (
        f'{{"id":{_quoted(chunk.id)},"copy":{chunk.copy},"start":{chunk.start},"length":{chunk.length}}}'
        for chunk in chunks
    )
    return f'{{"documents":[{",".join(rows)}]}}'.encode()


def read_sequence(block: bytes, key: str, card: DatasetCard) -> PackedSequence:
    """Read the bytes of one sequence; raises DatasetError if `sequence_bytes` did not write them."""
    names = [f"{key}.{name}" for name in (TOKENS_MEMBER, SPANS_MEMBER, CHUNKS_MEMBER)]
    tokens, spans, chunks = _members(block, names)
    return PackedSequence(
        key=key,
        tokens=_array(tokens, card.vocabulary.dtype, card.context_length, TOKENS_MEMBER),
        spans=_array(spans, SPAN_DTYPE, None, SPANS_MEMBER),
        chunks=_chunks(chunks),
    )


def _members(block: bytes, names: list[str]) -> Iterator[bytes]:
    at = 0
    for name in names:
        header = block[at : at + BLOCK]
        size = _normalized_size(header, name)
        if size is None:
            raise DatasetError(f"byte {at}: expected the normalized tar header of {name}, found {header[:60]!r}…")
        end = at + BLOCK + size
        next_member = at + BLOCK + padded_size(size)
        if next_member > len(block) or any(block[end:next_member]):
            raise DatasetError(f"{name} of {size} bytes is truncated or not padded with zeros")
        yield block[at + BLOCK : end]
        at = next_member
    if at != len(block):
        raise DatasetError(f"{len(block) - at} bytes follow {names[-1]}, before the next sequence")


def _normalized_size(header: bytes, name: str) -> int | None:
    """Return the size in a header if it is the one that `member_header` writes for `name`."""
    try:
        _, size = parse_header(header)
        return size if header == member_header(name, size) else None
    except ValueError:
        return None


def _array(data: bytes, dtype: np.dtype[Any], length: int | None, name: str) -> NDArray[Any]:
    """Return the values [length] of an `.npy` file, or as many as there are if `length` is None.

    The header is compared with the only valid one; a header from an unknown source is never evaluated.
    """
    if length is None:
        length = max(0, len(data) - len(npy_header(dtype, 0))) // dtype.itemsize
    header = npy_header(dtype, length)
    if not data.startswith(header) or len(data) != len(header) + length * dtype.itemsize:
        raise DatasetError(f"{name} is not an .npy file of {dtype} [{length}] and nothing else: {data[:80]!r}…")
    return np.frombuffer(data, dtype, offset=len(header))


def _chunks(data: bytes) -> list[Chunk]:
    try:
        chunks = [Chunk(**row) for row in json.loads(data)["documents"]]
    except (ValueError, TypeError, KeyError, RecursionError) as e:
        raise DatasetError(f"json is not a listing of documents ({e})") from e
    for chunk in chunks:
        _check_chunk(chunk)
    if chunks_json(chunks) != data:
        raise DatasetError("json is not written as Longreel writes it")
    return chunks


def _check_chunk(chunk: Chunk) -> None:
    ident, copy, start, length = dataclasses.astuple(chunk)
    if not (isinstance(ident, str) and all(type(number) is int for number in (copy, start, length))):
        raise DatasetError(f"json lists {chunk}, which is not a chunk of a document")
    if not 0 <= copy < _MAX_COPIES or not 0 <= start < _MAX_TOKENS or not 0 < length < _MAX_TOKENS:
        raise DatasetError(f"json lists {chunk}, whose copy, start or length is out of range")
