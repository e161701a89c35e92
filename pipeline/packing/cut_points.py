"""Where videos and other documents that stay whole are cut if they are longer than the context: between frames.

A chunk has at least two tokens where that can be, as one alone is no target of anything.
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

    The chunk up to it and what is left behind it have two tokens or more (or nothing is left).
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
    """Return the (start, length) of chunks as long as the context allows; only the last is much shorter."""
    chunks, start, end = [], 0, int(points[-1])
    while start < end:
        point = cut_at(points, start, context_length)
        if point is None:
            raise ConfigError(f"context_length {context_length} is too short to cut {where} between its frames")
        chunks.append((start, point - start))
        start = point
    return chunks
