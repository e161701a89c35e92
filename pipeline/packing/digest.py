"""Digests of the input of a packing job, and the validation of spans.

The digest of a set of documents is the sum of their SHA-256 hashes modulo 2^256. It does not depend on the order of the
documents or their distribution over units, so units can be digested in parallel. 10^6 documents take about 3 seconds.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.errors import DatasetError

# `fingerprint` determines tokens and spans; the other columns are written to the dataset.
_COLUMNS = ("document_id", "fingerprint", "kind", "split", "uri", "title", "source", "license", "length")
DIGESTS = 1 << 256


def digest_documents(table: pa.Table) -> int:
    """Return the digest of rows of records.TOKENS; the order and the storage location of the tokens do not matter."""
    total = 0
    for row in zip(*(table[name].to_pylist() for name in _COLUMNS), strict=True):
        total += int.from_bytes(hashlib.sha256(repr(row).encode("utf-8", "surrogatepass")).digest(), "big")
    return total % DIGESTS


def digest_array(values: NDArray[Any]) -> str:
    """Return the hexadecimal SHA-256 of the values in little-endian byte order."""
    return hashlib.sha256(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()).hexdigest()


def check_spans(table: pa.Table) -> None:
    """Raise DatasetError if the spans of a document do not cover it in order and without gaps."""
    column = table["spans"].combine_chunks()
    counts = pc.list_value_length(column).to_numpy().astype(np.int64)
    spans = column.flatten()
    start, length = (spans.field(name).to_numpy().astype(np.int64) for name in ("start", "length"))
    ends = np.concatenate([[0], np.cumsum(length)])
    last = np.cumsum(counts)
    before = ends[last - counts]  # tokens of the previous documents
    good = ends[last] - before == table["length"].to_numpy()
    wrong = (length <= 0) | (start != ends[:-1] - np.repeat(before, counts))
    good[np.repeat(np.arange(len(counts)), counts)[wrong]] = False
    if not good.all():
        row = table.slice(int(np.argmin(good)), 1).to_pylist()[0]
        raise DatasetError(
            f"document {row['document_id']} ({row['uri']}): its spans do not cover its {row['length']} tokens in order "
            "and without gaps; run `longreel tokenize` again"
        )
