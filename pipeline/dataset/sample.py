"""TODO."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.tar import BLOCK, member_header, npy_header
from schemas.dataset import DatasetCard
from schemas.errors import DatasetError
from schemas.packed import SPAN_DTYPE

PARTS = ".parts"


def listing_json(documents: list[dict[str, Any]]) -> bytes:
    """Return KEY.json: for each piece in the sequence `id` and `copy` of its document, and `start` and `length`."""
    return json.dumps({"documents": documents}, separators=(",", ":")).encode()


_LONGEST = 1 << 62  # what an array of int64 holds


class Piece(NamedTuple):
    """One entry of KEY.json."""

    id: str
    copy: int
    start: int
    length: int


@dataclass(frozen=True, eq=False)
class Sample:
    """A sequence whose parts can be read: tokens [S], spans [M], and its pieces."""

    key: str
    tokens: NDArray[Any]
    spans: NDArray[Any]
    pieces: list[Piece]


def read_sample(block: bytes, key: str, card: DatasetCard) -> Sample:
    """Read the bytes of one sequence; raises DatasetError with the first thing that is not as Longreel writes it."""
    tokens, spans, listing = _members(block, [f"{key}.tokens.npy", f"{key}.spans.npy", f"{key}.json"])
    dtype, length = card.vocabulary.dtype, card.context_length
    return Sample(
        key=key,
        tokens=_array(tokens, dtype, length, "tokens.npy"),
        spans=_array(spans, SPAN_DTYPE, None, "spans.npy"),
        pieces=_pieces(listing),
    )


def _members(block: bytes, names: list[str]) -> Iterator[bytes]:
    at = 0
    for name in names:
        header = block[at : at + BLOCK]
        digits = header[124:135]
        size = int(digits, 8) if len(digits) == 11 and all(c in b"01234567" for c in digits) else -1
        if size < 0 or header != member_header(name, size):
            raise DatasetError(f"byte {at}: expected the normalized tar header of {name}, found {header[:60]!r}…")
        data = block[at + BLOCK : at + BLOCK + size]
        at += BLOCK + size + -size % BLOCK
        if at > len(block) or any(block[at - (-size % BLOCK) : at]):
            raise DatasetError(f"{name} of {size} bytes is cut short or not padded with zeros")
        yield data
    if at != len(block):
        raise DatasetError(f"{len(block) - at} bytes follow {names[-1]}, before the next sequence")


def _array(data: bytes, dtype: np.dtype[Any], length: int | None, name: str) -> NDArray[Any]:
    if length is None:
        length = max(0, len(data) - len(npy_header(dtype, 0))) // dtype.itemsize
    header = npy_header(dtype, length)
    if not data.startswith(header) or len(data) != len(header) + length * dtype.itemsize:
        raise DatasetError(f"{name} is not an .npy file of {dtype} [{length}] and nothing else: {data[:80]!r}…")
    return np.frombuffer(data, dtype, offset=len(header))


def _pieces(listing: bytes) -> list[Piece]:
    try:
        pieces = [Piece(**row) for row in json.loads(listing)["documents"]]
        canonical = listing_json([piece._asdict() for piece in pieces])
    except (ValueError, TypeError, KeyError, RecursionError) as e:
        raise DatasetError(f"json is not a listing of documents ({e})") from e
    if canonical != listing:
        raise DatasetError("json is not written as Longreel writes it")
    for piece in pieces:
        if not (isinstance(piece.id, str) and all(type(number) is int for number in piece[1:])):
            raise DatasetError(f"json lists {piece}, which is no piece of a document")
        if not 0 <= piece.copy < 1 << 31 or not 0 <= piece.start < _LONGEST or not 0 < piece.length < _LONGEST:
            raise DatasetError(f"json lists {piece}: no document has such a piece")
    return pieces
