"""Divides a text at line ends, so that long work on it can be checked for time limits and interrupted."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.deadline import checkpoint

_CHUNK_CHARS = 1 << 16


def line_chunks(text: str, *, max_chars: int | None = None) -> Iterator[str]:
    """Yield `text` in chunks of whole lines, about 64 Ki characters each, with a checkpoint before each.

    A line of more than `max_chars` characters is divided at multiples of it; by default lines are never divided.
    """
    start = 0
    while start < len(text):
        checkpoint()
        end = text.rfind("\n", start, start + _CHUNK_CHARS) + 1 or text.find("\n", start + _CHUNK_CHARS) + 1
        end = end or len(text)
        if max_chars is not None:
            end = min(end, start + max_chars)
        yield text[start:end]
        start = end
