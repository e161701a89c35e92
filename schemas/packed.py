"""The packed sequence: S tokens, and the spans that say what they are.

On disk a sequence is `KEY.tokens.npy` [S] and `KEY.spans.npy`, a structured array with one row a span. From the
spans alone the model's inputs are expanded: segment ids, positions, vision mask and loss weights. Spans are in
order, do not overlap and leave no gap; what lies behind the last one is padding (segment 0, weight 0, token 0).

`document` counts the pieces of documents in this sequence from 0; a piece is one run of spans with the same
number. Attention never crosses pieces and positions restart at 0 in each.

Axes: S sequence, M spans.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DatasetError
from schemas.vocab import TEXT, VISION

SPAN_DTYPE = np.dtype(
    [("start", "<i4"), ("length", "<i4"), ("document", "<i4"), ("modality", "|i1"), ("weight", "<f4")]
)


class Expanded(NamedTuple):
    """What the model needs beside the tokens, each [S]."""

    segment_ids: NDArray[np.int32]  # 0 for padding, else 1 + document
    positions: NDArray[np.int32]  # from 0 in every document piece; 0 for padding
    vision: NDArray[np.bool_]
    weights: NDArray[np.float32]  # of the token as a *target*: 0 for the first of a piece, and for padding


def expand(spans: NDArray[Any], length: int) -> Expanded:
    """Expand spans [M] to per-token arrays [length].

    A weight belongs to the prediction *of* its token, from the token before it in the same piece; so the
    trainer shifts tokens and weights together, and the first token of every piece has weight 0.
    """
    documents = np.repeat(spans["document"], spans["length"])
    used = len(documents)
    segment_ids = np.zeros(length, np.int32)
    positions = np.zeros(length, np.int32)
    vision = np.zeros(length, np.bool_)
    weights = np.zeros(length, np.float32)
    if used:
        segment_ids[:used] = documents + 1
        first = np.flatnonzero(np.diff(documents, prepend=-1))
        lengths = np.diff(first, append=used)
        positions[:used] = np.arange(used) - np.repeat(first, lengths)
        vision[:used] = np.repeat(spans["modality"] == VISION, spans["length"])
        weights[:used] = np.repeat(spans["weight"], spans["length"])
        weights[first] = 0
    return Expanded(segment_ids, positions, vision, weights)


def check_spans(spans: NDArray[Any], *, length: int, documents: int, where: str) -> None:
    """Raise DatasetError that names the first rule `spans` breaks for a sequence of `length` tokens."""

    def require(rule: bool, message: str) -> None:
        if not rule:
            raise DatasetError(f"{where}: {message}")

    require(spans.dtype == SPAN_DTYPE, f"spans have dtype {spans.dtype}, expected {SPAN_DTYPE}")
    require(spans.ndim == 1, f"spans have {spans.ndim} dimensions, expected 1")
    require(bool(np.all(spans["length"] > 0)), "a span has no tokens")
    ends = np.cumsum(spans["length"], dtype=np.int64)
    require(bool(np.all(spans["start"] == ends - spans["length"])), "spans overlap or leave a gap")
    used = int(ends[-1]) if len(ends) else 0
    require(used <= length, f"spans cover {used} tokens of a sequence of {length}")
    require(bool(np.all(np.isin(spans["modality"], (TEXT, VISION)))), "a span has an unknown modality")
    weight = spans["weight"]
    require(bool(np.all(np.isfinite(weight) & (weight >= 0))), "a span's weight is negative or not finite")
    order = spans["document"][np.flatnonzero(np.diff(spans["document"], prepend=-1))]
    require(
        np.array_equal(order, np.arange(documents)),
        f"document numbers {order.tolist()[:8]} are not 0..{documents - 1} in order",
    )
