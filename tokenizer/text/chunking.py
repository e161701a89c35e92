"""Cut text into blocks at places that depend on the text alone, however it arrives.

A block ends after the last newline within its first 1,024 characters; where there is none, before the last space;
where there is none either, after 1,024 characters, or before a "<" that might begin a marker. Memory is bounded by
one chunk and one block; the cost is a few string searches a block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

BEGIN_VISION, END_VISION = "<vision>", "</vision>"
BLOCK_CHARS = 1024

_READ_CHARS = 1 << 16  # smaller chunks are joined before they are cut


def blocks(chunks: Iterable[str]) -> Iterator[str]:
    """Yield the blocks of the chunks' joined text; none is empty."""
    text = ""
    for chunk in _joined(chunks):
        text += chunk
        start = 0
        while len(text) - start > BLOCK_CHARS:
            end = _cut(text, start)
            yield text[start:end]
            start = end
        text = text[start:]
    if text:
        yield text


def _cut(text: str, start: int) -> int:
    end = start + BLOCK_CHARS
    if (newline := text.rfind("\n", start, end)) >= 0:
        return newline + 1
    if (space := text.rfind(" ", start + 1, end)) >= 0:
        return space
    # Never through a marker, or its halves would escape notice.
    marker = text.rfind("<", end - len(END_VISION) + 1, end)
    return marker if marker >= 0 else end


def _joined(chunks: Iterable[str]) -> Iterator[str]:
    """Join chunks until they are worth cutting: a reader that yields single characters is not punished."""
    waiting: list[str] = []
    size = 0
    for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= _READ_CHARS:
            yield "".join(waiting)
            waiting, size = [], 0
    yield "".join(waiting)
