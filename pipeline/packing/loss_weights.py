"""Loss weights of packed documents.

The loss is Σ w·ce / Σ w over the targets of a global batch, where ce is the cross-entropy of a target. A chunk of n
tokens has n - 1 targets, because its first token has no context to be predicted from. The weight of a span (0 for a
question, 1 for its answer) scales the targets in it.

    token       Each target has weight 1.
    document    Each document has the same total weight: a target of a document with t targets has weight c/t. The loss
                equals that of the same documents unpacked and padded, one per row, as the mean over rows of the mean
                loss of each row. c is the mean of t over the split's documents before cutting, so that the mean weight
                is about 1.

The chunks of a document that is cut share the weight of the document; the first token of each chunk is not a target.
Each copy of a document has the full weight. The factors for text and vision are applied afterwards and change the mean.
Source: "masked sequence packing", LWM, arXiv 2402.08268, section 4.2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Integers = NDArray[np.int64]


class _Spans(NamedTuple):
    """The spans [M] of all documents, and the number `counts` [D] of spans of each."""

    counts: Integers
    start: Integers
    length: Integers
    weight: NDArray[np.float64]


def targets_of(table: pa.Table) -> NDArray[np.float64]:
    """Return the sum of the span weights over the targets of each document [D] before cutting.

    `table` has rows of records.TOKENS.
    """
    spans = _spans(table)
    documents = np.repeat(np.arange(len(table)), spans.counts)
    totals = np.bincount(documents, spans.weight * spans.length, minlength=len(table))
    first = np.append(spans.weight, 0.0)[np.cumsum(spans.counts) - spans.counts] * (spans.counts > 0)
    return totals - first


def document_weights(
    table: pa.Table, document: Integers, copy: Integers, start: Integers, *, mean_targets: float
) -> NDArray[np.float64]:
    """Return the weight [N] per target of each chunk, so that each copy of a document has the same total weight.

    Chunk i starts at token `start[i]` of copy `copy[i]` of row `document[i]` of `table`. All chunks of a document must
    be present. Documents without targets have weight 0.
    """
    if not len(document):
        return np.ones(0)
    lost = np.where(start > 0, _weight_at(table, document, start), 0.0)
    which = document * (int(copy.max()) + 1) + copy
    which = np.unique(which, return_inverse=True)[1]
    targets = targets_of(table)[document] - np.bincount(which, lost)[which]
    return np.divide(mean_targets, targets, out=np.zeros(len(document)), where=targets > 0)


def _weight_at(table: pa.Table, document: Integers, start: Integers) -> NDArray[np.float64]:
    """Return the span weight of token `start[i]` of document `document[i]` [N]."""
    spans = _spans(table)
    stride = int(pc.max(table["length"]).as_py()) + 1
    begins = np.repeat(np.arange(len(table)), spans.counts) * stride + spans.start
    return spans.weight[np.searchsorted(begins, document * stride + start, side="right") - 1]


def _spans(table: pa.Table) -> _Spans:
    column = table["spans"].combine_chunks()
    flat = column.flatten()
    start, length, weight = (flat.field(name).to_numpy() for name in ("start", "length", "weight"))
    return _Spans(pc.list_value_length(column).to_numpy().astype(np.int64), start, length, weight.astype(np.float64))
