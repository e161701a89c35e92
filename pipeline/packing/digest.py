"""A digest of the documents that a dataset is packed from, and the check that their spans are whole.

Each document has a SHA-256 of its own, and these are added up modulo 2^256: the sum is the same however the documents
are spread over units, and units are digested side by side. 10^6 documents take about three seconds.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.errors import DatasetError

# Tokens and spans follow from `fingerprint`; the others are shown of a document.
_COLUMNS = ("document_id", "fingerprint", "kind", "split", "uri", "title", "source", "license", "length")
DIGESTS = 1 << 256


def digest_documents(table: pa.Table) -> int:
    """Return the digest of rows (records.TOKENS) in any order, without where their tokens are stored."""
    total = 0
    for row in zip(*(table[name].to_pylist() for name in _COLUMNS), strict=True):
        total += int.from_bytes(hashlib.sha256(repr(row).encode("utf-8", "surrogatepass")).digest(), "big")
    return total % DIGESTS


def digest_array(values: NDArray[Any]) -> str:
    """Return the hex SHA-256 of the values, whatever this machine's order of bytes."""
    return hashlib.sha256(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()).hexdigest()


def check_spans(table: pa.Table) -> None:
    """Raise DatasetError where the spans of a row do not cover its document in order and without a gap."""
    column = table["spans"].combine_chunks()
    counts = pc.list_value_length(column).to_numpy().astype(np.int64)
    spans = column.flatten()
    start, length = (spans.field(name).to_numpy().astype(np.int64) for name in ("start", "length"))
    ends = np.concatenate([[0], np.cumsum(length)])
    last = np.cumsum(counts)
    before = ends[last - counts]  # tokens of the documents before
    good = ends[last] - before == table["length"].to_numpy()
    wrong = (length <= 0) | (start != ends[:-1] - np.repeat(before, counts))
    good[np.repeat(np.arange(len(counts)), counts)[wrong]] = False
    if not good.all():
        row = table.slice(int(np.argmin(good)), 1).to_pylist()[0]
        raise DatasetError(
            f"document {row['document_id']} ({row['uri']}): its spans do not cover its {row['length']} tokens in order "
            "and without a gap; tokenize it again"
        )
