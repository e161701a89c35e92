"""Splits text into blocks. The boundaries depend only on the text, not on the chunks in which it is read.

A block has at most 1,024 characters. It ends after the last newline in this range; if there is none, before the last
space; if there is no space either, after 1,024 characters, or before a "<" that could start a marker. Memory is bounded
by one chunk and one block; the cost is a few string searches per block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tokenizer.text.model import END_VISION

BLOCK_CHARS = 1024

_READ_CHARS = 1 << 16  # smaller chunks are joined before they are split


def blocks(chunks: Iterable[str]) -> Iterator[str]:
    """Yield the non-empty blocks of the concatenated chunks."""
    text = ""
    for chunk in joined(chunks):
        text += chunk
        start = 0
        while len(text) - start > BLOCK_CHARS:
            end = _block_end(text, start)
            yield text[start:end]
            start = end
        text = text[start:]
    if text:
        yield text


def _block_end(text: str, start: int) -> int:
    """Return the end of the block that begins at `start`."""
    end = start + BLOCK_CHARS
    if (newline := text.rfind("\n", start, end)) >= 0:
        return newline + 1
    if (space := text.rfind(" ", start + 1, end)) >= 0:
        return space
    # Never split a marker: neither half would be recognized as one.
    marker = text.rfind("<", end - len(END_VISION) + 1, end)
    return marker if marker >= 0 else end


def joined(chunks: Iterable[str]) -> Iterator[str]:
    """Join small chunks, so that the cost of splitting the text does not depend on their number."""
    waiting: list[str] = []
    size = 0
    for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= _READ_CHARS:
            yield "".join(waiting)
            waiting, size = [], 0
    yield "".join(waiting)
