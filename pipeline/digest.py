"""One SHA-256 over all that a packed dataset takes from its documents, and the check that their spans are whole.

Columns are hashed as the values they hold, not as Arrow stores them, so that neither chunks, slices nor the presence
of a null bitmap matter. Works in blocks of rows: memory is bounded, 10^6 documents take about a second.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.errors import DatasetError

_COLUMNS = (
    "document_id", "fingerprint", "kind", "split", "uri", "title", "source", "licence", "frame_tokens", "length",
    "spans",
)  # fmt: skip
_ROWS = 1 << 16


def digest_documents(table: pa.Table) -> str:
    """Return the hex SHA-256 of the rows (records.TOKENS) in their order, without where their tokens are stored.

    Raises DatasetError where a document's spans do not cover it in order and without a gap.
    """
    digest = hashlib.sha256()
    for first in range(0, len(table), _ROWS):
        block = table.slice(first, _ROWS).combine_chunks()
        _check_spans(block)
        for name in _COLUMNS:
            _update(digest, block[name].combine_chunks())
    return digest.hexdigest()


def digest_array(values: NDArray[Any]) -> str:
    """Return the hex SHA-256 of the values, whatever this machine's order of bytes."""
    return hashlib.sha256(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()).hexdigest()


def _check_spans(block: pa.Table) -> None:
    column = block["spans"].combine_chunks()
    counts = pc.list_value_length(column).to_numpy().astype(np.int64)
    spans = column.flatten()
    start, length = (spans.field(name).to_numpy().astype(np.int64) for name in ("start", "length"))
    ends = np.concatenate([[0], np.cumsum(length)])
    last = np.cumsum(counts)
    before = ends[last - counts]  # tokens of the documents before, within the block
    good = (counts > 0) & (ends[last] - before == block["length"].to_numpy())
    wrong = (length <= 0) | (start != ends[:-1] - np.repeat(before, counts))
    good[np.repeat(np.arange(len(counts)), counts)[wrong]] = False
    if not good.all():
        row = block.slice(int(np.argmin(good)), 1).to_pylist()[0]
        raise DatasetError(
            f"document {row['document_id']} ({row['uri']}): its spans do not cover its {row['length']} tokens in order "
            "and without a gap; tokenize it again"
        )


def _update(digest: Any, column: pa.Array) -> None:
    if pa.types.is_list(column.type):
        digest.update(pc.list_value_length(column).to_numpy().astype("<i4").tobytes())
        for field in column.flatten().flatten():
            _update(digest, field)
        return
    digest.update(pc.is_null(column).to_numpy(zero_copy_only=False).tobytes())
    if pa.types.is_string(column.type):
        digest.update(pc.fill_null(pc.binary_length(column), 0).to_numpy().astype("<i4").tobytes())
        digest.update("".join(pc.fill_null(column, "").to_pylist()).encode())
    else:
        values = pc.fill_null(column, 0).to_numpy()
        digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
