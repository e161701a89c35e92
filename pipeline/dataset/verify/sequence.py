"""Checks one packed sequence: its tokens, spans and chunks. `schemas.shards.sequence` checks its bytes.

Axes: S sequence, M spans.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from schemas.dataset import DatasetCard
from schemas.errors import DatasetError
from schemas.packed import check_spans
from schemas.shards.sequence import PackedSequence
from schemas.vocab import VISION


def sequence_problems(sequence: PackedSequence, card: DatasetCard) -> Iterator[str]:
    """Yield the problems of the content of a sequence."""
    tokens, spans, vocabulary = sequence.tokens, sequence.spans, card.vocabulary
    if not len(spans):
        yield "the sequence has no spans"
    try:
        check_spans(spans, length=len(tokens), documents=len(sequence.chunks), where="spans")
    except DatasetError as e:
        yield str(e)
        return
    used = int(spans["length"].sum())
    if tokens[used:].any():
        yield f"padding: token {used + int(np.argmax(tokens[used:] != 0))} after the last span is not 0"
    if (large := tokens >= vocabulary.size).any():
        at = int(np.argmax(large))
        yield f"token {at} is {tokens[at]}, outside the vocabulary of {vocabulary.size}"
    vision = np.repeat(spans["modality"] == VISION, spans["length"])
    if (mixed := vocabulary.is_vision(tokens[:used]) != vision).any():
        at = int(np.argmax(mixed))
        yield f"token {at} is {tokens[at]}, which does not belong in a {'vision' if vision[at] else 'text'} span"
    lengths = np.bincount(spans["document"], spans["length"], minlength=len(sequence.chunks)).astype(np.int64)
    if (listed := [chunk.length for chunk in sequence.chunks]) != lengths.tolist():
        yield f"json lists chunks of {listed[:8]} tokens, the spans have {lengths.tolist()[:8]}"
