"""Loss weights of packed documents.

The loss is Σ w·ce / Σ w over the targets of a global batch. A chunk of n tokens has n - 1 targets, as its first token
is predicted by nothing; a target counts as much as its span says (0 in a question, 1 in its answer).

    token       every target counts 1
    document    every document counts 1, however long: a target of a document with t targets counts c/t. This is the
                loss that the same documents give unpacked and padded, one a row, as the mean over rows of each row's
                mean. c is the mean of t over the split's documents, before any is cut, so that the mean weight is
                about 1.

A document that is cut counts 1 with all its chunks together; the first token of each further chunk is no target. One
that goes in twice counts 2. The multipliers of the modalities come on top, and move the mean.
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
    """The spans [M] of all documents [D], and how many each has."""

    counts: Integers
    start: Integers
    length: Integers
    weight: NDArray[np.float64]


def targets_of(table: pa.Table) -> NDArray[np.float64]:
    """Return the sum of the span weights of each document's targets [D] (rows of records.TOKENS), uncut."""
    spans = _spans(table)
    documents = np.repeat(np.arange(len(table)), spans.counts)
    totals = np.bincount(documents, spans.weight * spans.length, minlength=len(table))
    first = np.append(spans.weight, 0.0)[np.cumsum(spans.counts) - spans.counts] * (spans.counts > 0)
    return totals - first


def document_weights(
    table: pa.Table, document: Integers, copy: Integers, start: Integers, *, mean_targets: float
) -> NDArray[np.float64]:
    """Return the weight [N] of a target of each chunk, so that every document of `table` counts the same.

    The chunks, each from token `start` of a `copy` of a `document`, are all there are of these documents.
    """
    if not len(document):
        return np.ones(0)
    lost = np.where(start > 0, _weight_at(table, document, start), 0.0)
    which = document * (int(copy.max()) + 1) + copy
    which = np.unique(which, return_inverse=True)[1]
    targets = targets_of(table)[document] - np.bincount(which, lost)[which]
    return np.divide(mean_targets, targets, out=np.zeros(len(document)), where=targets > 0)


def _weight_at(table: pa.Table, document: Integers, start: Integers) -> NDArray[np.float64]:
    """Return the span weight of token `start` [N] of each document."""
    spans = _spans(table)
    stride = int(pc.max(table["length"]).as_py()) + 1
    begins = np.repeat(np.arange(len(table)), spans.counts) * stride + spans.start
    return spans.weight[np.searchsorted(begins, document * stride + start, side="right") - 1]


def _spans(table: pa.Table) -> _Spans:
    column = table["spans"].combine_chunks()
    flat = column.flatten()
    start, length, weight = (flat.field(name).to_numpy() for name in ("start", "length", "weight"))
    return _Spans(pc.list_value_length(column).to_numpy().astype(np.int64), start, length, weight.astype(np.float64))
