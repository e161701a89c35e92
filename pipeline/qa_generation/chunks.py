"""Chunks of a book, each of which a model is asked to write questions about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pipeline.text.passages import lines_or_sentences
from pipeline.text.words import WORD


class Chunk(NamedTuple):
    """A part of the clean text of a book, [start, end) in characters."""

    number: int
    start: int
    end: int
    text: str
    words: int


def split_chunks(text: str, *, words: int) -> Iterator[Chunk]:
    """Yield the chunks of a text, in order and without gaps, each of at least `words` words except for the last.

    A chunk ends with a line, or with a sentence of a long line. A short rest is part of the last chunk.
    """
    pieces = list(_ends(text, words))
    if len(pieces) > 1 and pieces[-1][1] < words // 2:
        (_, before), (end, rest) = pieces[-2:]
        pieces[-2:] = [(end, before + rest)]
    start = 0
    for number, (end, count) in enumerate(pieces):
        yield Chunk(number, start, end, text[start:end], count)
        start = end


def _ends(text: str, words: int) -> Iterator[tuple[int, int]]:
    """Yield the end of each chunk and its number of words."""
    end = count = 0
    for piece in lines_or_sentences(text):
        end += len(piece)
        count += len(WORD.findall(piece))
        if count >= words:
            yield end, count
            count = 0
    if count:
        yield end, count
