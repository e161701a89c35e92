"""The packed sequence: S tokens, and spans that describe them.

On disk a sequence is `KEY.tokens.npy` [S] and `KEY.spans.npy`, a structured array with one row per span. The spans
determine the other inputs of the model: segment ids, positions, vision mask and loss weights. Spans are in order,
without overlaps or gaps; the tokens after the last one are padding (segment 0, weight 0, token 0).

`document` numbers the chunks of documents in this sequence from 0; a chunk is a run of spans with the same number. The
card of the dataset defines the range of attention (`attention`); the spans are the same for both values:

    document   attention never crosses chunks, and positions restart at 0 in each
    sequence   all chunks of a sequence are one segment with consecutive positions

Axes: S sequence, M spans, R ranges of a sequence, n tokens in the ranges (S without ranges).
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError, DatasetError
from schemas.vocab import TEXT, VISION

Attention = Literal["document", "sequence"]
_FEW_SPANS = 64
ATTENTIONS: tuple[str, ...] = get_args(Attention)

SPAN_DTYPE = np.dtype(
    [("start", "<i4"), ("length", "<i4"), ("document", "<i4"), ("modality", "|i1"), ("weight", "<f4")]
)


class Expanded(NamedTuple):
    """The inputs of the model other than the tokens, each [n]."""

    segment_ids: NDArray[np.int32]  # 0 for padding, otherwise 1 + document; 1 if the sequence is one segment
    positions: NDArray[np.int32]  # starting at 0 in every segment; 0 for padding
    vision: NDArray[np.bool_]
    weights: NDArray[np.float32]  # of the token as a *target*: 0 for the first of a chunk, and for padding


def expand(
    spans: NDArray[Any], length: int, *, attention: Attention = "document", ranges: NDArray[np.int64] | None = None
) -> Expanded:
    """Expand the spans [M] of a sequence of `length` tokens to per-token arrays [length].

    With `ranges` [R, 2], sorted and disjoint, only the tokens [a, b) of each range are expanded, and the results are
    concatenated: the arrays are [n], and the cost is proportional to n. A weight applies to the prediction *of* its
    token from the previous token of the same chunk, so the trainer shifts tokens and weights together, and the first
    token of every chunk has weight 0 for both values of `attention`. Raises ConfigError for an unknown attention; the
    spans must be valid (see `check_spans`).

    Each array is one `np.repeat`, which copies runs of a value at memory speed; a span costs a few tens of ns.
    """
    if attention not in ATTENTIONS:
        raise ConfigError(f"attention must be one of {', '.join(ATTENTIONS)}, got {attention!r}")
    rows = _rows(spans, length)
    if ranges is not None:
        rows = _cut(rows, length, ranges)
    whole = attention == "sequence"
    segment_ids = (np.minimum(rows.segment, 1) if whole else rows.segment).repeat(rows.length)
    positions = np.arange(len(segment_ids), dtype=np.int32)
    positions -= (rows.origin if whole else rows.chunk).repeat(rows.length)
    positions[rows.filled :] = 0
    weights = rows.weight.repeat(rows.length)
    weights[rows.start[rows.begins]] = 0
    return Expanded(segment_ids, positions, rows.vision.repeat(rows.length), weights)


class _Rows(NamedTuple):
    """Spans as columns; the last row is the padding. Positions are indices into the arrays that `expand` returns."""

    start: NDArray[np.int32]
    length: NDArray[np.int64]
    segment: NDArray[np.int32]
    begins: NDArray[np.bool_]  # True for the first span of a chunk
    chunk: NDArray[np.int32]  # start of the span's chunk
    origin: NDArray[np.int32]  # start of the sequence
    vision: NDArray[np.bool_]
    weight: NDArray[np.float32]
    filled: int  # tokens before the padding


def _rows(spans: NDArray[Any], length: int) -> _Rows:
    used = int(spans["start"][-1]) + int(spans["length"][-1]) if len(spans) else 0
    start, segment = _column(spans["start"], used, np.int32), _column(spans["document"], -1, np.int32)
    segment += 1
    begins = np.ones(len(start), np.bool_)
    np.not_equal(segment[1:], segment[:-1], out=begins[1:])
    begins[-1] = False
    return _Rows(
        start=start,
        length=_column(spans["length"], length - used, np.int64),
        segment=segment,
        begins=begins,
        chunk=np.maximum.accumulate(start * begins),
        origin=np.zeros(len(start), np.int32),
        vision=_column(spans["modality"] == VISION, False, np.bool_),
        weight=_column(spans["weight"], 0, np.float32),
        filled=used,
    )


def _column(values: NDArray[Any], last: float, dtype: type[Any]) -> NDArray[Any]:
    column = np.empty(len(values) + 1, dtype)
    column[:-1] = values
    column[-1] = last
    return column


def _cut(rows: _Rows, length: int, ranges: NDArray[np.int64]) -> _Rows:
    """Return the parts of rows that lie in `ranges`."""
    edges = ranges.reshape(-1)
    start = np.union1d(rows.start, edges)
    end = np.append(start[1:], length)
    inside = np.searchsorted(edges, start, "right") % 2 == 1
    start, count = start[inside], (end - start)[inside]
    of = np.searchsorted(rows.start, start, "right") - 1
    place = np.cumsum(count) - count
    moved = (place - start).astype(np.int32)
    return _Rows(
        start=place,
        length=count,
        segment=rows.segment[of],
        begins=rows.begins[of] & (rows.start[of] == start),
        chunk=rows.chunk[of] + moved,
        origin=moved,
        vision=rows.vision[of],
        weight=rows.weight[of],
        filled=int(count[start < rows.filled].sum()),
    )


def check_spans(spans: NDArray[Any], *, length: int, documents: int, where: str) -> None:
    """Raise DatasetError with the first violated rule if spans of a sequence of `length` tokens are invalid."""
    is_usual = spans.ndim == 1 and len(spans) <= _FEW_SPANS and spans.dtype == SPAN_DTYPE
    if is_usual and _are_valid(spans.tolist(), length, documents):
        return
    if problem := _problem(spans, length, documents):
        raise DatasetError(f"{where}: {problem}")


def _are_valid(rows: list[tuple[Any, ...]], length: int, documents: int) -> bool:
    """Return whether `_problem` finds none; for few spans, a loop takes a tenth of its time."""
    end, last = 0, -1
    for start, count, document, modality, weight in rows:
        if count <= 0 or start != end or document - last not in (0, 1) or document < 0:
            return False
        if modality not in (TEXT, VISION) or not 0 <= weight < math.inf:
            return False
        end, last = start + count, document
    return end <= length and last == documents - 1


def _problem(spans: NDArray[Any], length: int, documents: int) -> str | None:
    if spans.dtype != SPAN_DTYPE:
        return f"spans have dtype {spans.dtype}, expected {SPAN_DTYPE}"
    if spans.ndim != 1:
        return f"spans have {spans.ndim} dimensions, expected 1"
    start, lengths, document, modality, weight = (spans[name] for name in SPAN_DTYPE.names or ())
    if not (lengths > 0).all():
        return "a span has no tokens"
    ends = lengths.cumsum(dtype=np.int64)
    if not (start == ends - lengths).all():
        return "spans overlap or leave a gap"
    if len(ends) and ends[-1] > length:
        return f"spans cover {ends[-1]} tokens of a sequence of {length}"
    if not ((modality == TEXT) | (modality == VISION)).all():
        return "a span has an unknown modality"
    if not (np.isfinite(weight) & (weight >= 0)).all():
        return "a span's weight is negative or not finite"
    steps = document[1:] - document[:-1]
    counted = (document[0], document[-1]) == (0, documents - 1) if len(document) else documents == 0
    if not (counted and ((steps == 0) | (steps == 1)).all()):
        order = np.concatenate([document[:1], document[1:][steps != 0]])
        return f"document numbers {order[:8].tolist()} are not 0..{documents - 1} in order"
    return None
