"""Cut points of visual documents that are longer than the context: between frames.

Chunks have at least two tokens where possible, because a chunk of one token has no target.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError, DatasetError
from schemas.vocab import VISION

Integers = NDArray[np.int64]
SHORTEST = 2  # tokens of a chunk


class Spans(NamedTuple):
    """The spans [M] of one document: start and length in tokens, and modality."""

    start: Integers
    length: Integers
    modality: NDArray[np.int8]


def cut_points(spans: Spans, *, frame_tokens: int, context_length: int, where: str) -> Integers:
    """Return the sorted token positions at which a document can be cut, including its end but not its start.

    Cut points are the ends of spans and of frames. A text span that exceeds the context can be cut at any token.
    `where` names the document in error messages. Raises ConfigError if a frame exceeds the context, DatasetError if
    the length of a vision span is not a multiple of `frame_tokens`.
    """
    vision = spans.modality == VISION
    if vision.any() and frame_tokens > context_length:
        raise ConfigError(
            f"context_length {context_length} is shorter than one frame of {where} ({frame_tokens} tokens); "
            f"pack with a context of at least {frame_tokens}"
        )
    if vision.any() and (frame_tokens < 1 or np.any(spans.length[vision] % frame_tokens)):
        raise DatasetError(
            f"{where}: the length of a vision span is not a multiple of {frame_tokens} tokens; "
            "run `longreel tokenize` again"
        )
    step = np.where(vision, frame_tokens, np.where(spans.length > context_length, 1, spans.length))
    count = spans.length // step
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return np.repeat(spans.start, count) + (within + 1) * np.repeat(step, count)


def cut_at(points: Integers, start: int, room: int) -> int | None:
    """Return the last cut point at most `room` tokens after `start`, or None.

    The chunk before it has at least SHORTEST tokens, and so has the remainder after it unless that is empty.
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
    """Return the (start, length) of chunks, each as long as the context and the cut points allow.

    Raises ConfigError if no cut point lies within `context_length` tokens of the previous one.
    """
    chunks, start, end = [], 0, int(points[-1])
    while start < end:
        point = cut_at(points, start, context_length)
        if point is None:
            raise ConfigError(
                f"context_length {context_length} is too short to cut {where} between frames; use a longer one"
            )
        chunks.append((start, point - start))
        start = point
    return chunks
