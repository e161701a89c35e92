"""Where documents are cut: long videos between frames, books wherever a gap ends.

A piece has at least two tokens, as one alone is no target of anything.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError, DatasetError
from schemas.vocab import VISION

Integers = NDArray[np.int64]
SHORTEST = 2


class Spans(NamedTuple):
    """A document's spans, each [M]."""

    start: Integers
    length: Integers
    modality: NDArray[np.int8]


def cut_points(spans: Spans, *, frame_tokens: int, context_length: int, where: str) -> Integers:
    """Return the sorted places at which a video may be cut, its end included and its start not.

    They are the ends of spans and of frames. A text span is cut inside only where it alone exceeds the context.
    Raises ConfigError where a frame exceeds the context, DatasetError where a vision span is not whole frames.
    """
    vision = spans.modality == VISION
    if vision.any() and frame_tokens > context_length:
        raise ConfigError(
            f"context_length {context_length} is shorter than one frame of {where} ({frame_tokens} tokens); "
            f"pack with a context of at least {frame_tokens}"
        )
    if vision.any() and (frame_tokens < 1 or np.any(spans.length[vision] % frame_tokens)):
        raise DatasetError(f"{where}: a vision span is not whole frames of {frame_tokens} tokens; tokenize it again")
    step = np.where(vision, frame_tokens, np.where(spans.length > context_length, 1, spans.length))
    count = spans.length // step
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return np.repeat(spans.start, count) + (within + 1) * np.repeat(step, count)


def cut_at(points: Integers, start: int, room: int) -> int | None:
    """Return the last of a document's cut points that is within `room` tokens of `start`, or None.

    The piece up to it and what is left behind it have two tokens or more (or nothing is left).
    """
    end = int(points[-1])
    for i in range(int(np.searchsorted(points, start + room, side="right")) - 1, -1, -1):
        point = int(points[i])
        if point - start < SHORTEST:
            return None
        if end - point != SHORTEST - 1:
            return point
    return None


def cut_video(points: Integers, *, context_length: int, where: str) -> list[tuple[int, int]]:
    """Return the (start, length) of pieces as long as the context allows; only the last is much shorter."""
    pieces, start, end = [], 0, int(points[-1])
    while start < end:
        point = cut_at(points, start, context_length)
        if point is None:
            raise ConfigError(f"context_length {context_length} is too short to cut {where} between its frames")
        pieces.append((start, point - start))
        start = point
    return pieces


class Poured(NamedTuple):
    """Pieces of texts, each [N], in the order of the texts: which text, where in it, and the gap it lies in."""

    text: Integers
    start: Integers
    length: Integers
    gap: Integers


def pour(lengths: Integers, gaps: Integers, *, context_length: int) -> Poured:
    """Cut texts of `lengths` [T], one after the other, through `gaps` [G] and then through sequences of their own.

    Gap numbers from G on are those sequences. Where a text would leave or begin with a single token at the end of a
    gap, that place stays empty. Cost: one search a text, and arrays of the size of the result.
    """
    own = -(-int(lengths.sum() + SHORTEST * len(lengths)) // context_length) + 1
    rooms = np.concatenate([np.where(gaps < SHORTEST, 0, gaps), np.full(own, context_length, np.int64)])
    gap_ends = np.cumsum(rooms - _left_empty(lengths, rooms))
    text_ends = np.cumsum(lengths)
    total = int(text_ends[-1]) if len(lengths) else 0
    ends = np.union1d(gap_ends[gap_ends < total], text_ends).astype(np.int64)
    ends = ends[ends > 0]
    starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
    text = np.searchsorted(text_ends, starts, side="right")
    return Poured(
        text=text,
        start=starts - (text_ends - lengths)[text],
        length=ends - starts,
        gap=np.searchsorted(gap_ends, starts, side="right"),
    )


def _left_empty(lengths: Integers, rooms: Integers) -> Integers:
    """Return how many places at the end of each of `rooms` must stay empty so that no piece is a single token."""
    empty = np.zeros(len(rooms), np.int64)
    room_ends = np.cumsum(rooms)
    start = 0
    for length in lengths.tolist():
        end = start + length
        while True:
            last = int(np.searchsorted(room_ends, end))  # the room of the text's last token
            begin = int(room_ends[last] - rooms[last])
            if begin <= start or end - begin >= SHORTEST:
                break
            # One token would stand alone in `last`: hold back one more, or two where only two are before it.
            before = int(np.searchsorted(room_ends, begin))
            piece = begin - max(start, int(room_ends[before] - rooms[before]))
            held = 1 if piece > SHORTEST else piece
            empty[before] += held
            if held == begin - start:
                start = begin
            end += held
        if room_ends[last] - end == 1:
            empty[last] += 1
            end += 1
        start = end
    return empty
