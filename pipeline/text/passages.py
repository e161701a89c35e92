"""Passages: a text in pieces of about 2,000 words, cut where its content says.

A piece ends after a line (or a sentence of a very long line) whose hash is small, so that other editions of a book
are cut at the same places, and a change moves the ends near it alone. No piece is shorter than 1,000 words, but the
last, or longer than 4,000 by more than a sentence.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import NamedTuple

_FEWEST, _MOST, _MEAN_REST = 1000, 4000, 1000  # words; a piece goes on for `_MEAN_REST` past the fewest, on average
_LONG_LINE = 2000  # characters; a longer line may be cut between its sentences
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_]+")
_SENTENCE = re.compile(r".{1,2000}?(?:[.!?…][\"'”’»)\]]*\s+|[。！？]|$)|.{1,2000}", re.S)
_HASHES = 1 << 64


class Passage(NamedTuple):
    """A piece of a text, in characters."""

    start: int
    end: int
    words: int


def split_passages(text: str) -> list[Passage]:
    """Return the passages of `text`, in order, without a gap; none where it has no character."""
    passages: list[Passage] = []
    start = end = words = 0
    for piece in _pieces(text):
        found = _WORD.findall(piece)
        words += len(found)
        end += len(piece)
        if words >= _MOST or (words >= _FEWEST and _ends(found)):
            passages.append(Passage(start, end, words))
            start, words = end, 0
    if end > start:
        passages.append(Passage(start, end, words))
    return passages


def _ends(words: list[str]) -> bool:
    """Tell whether a passage may end after these words: the more they are, the likelier."""
    digest = hashlib.blake2b(" ".join(words).casefold().encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") * _MEAN_REST < len(words) * _HASHES


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        line = text[start:end]
        if len(line) <= _LONG_LINE:
            yield line
        else:
            yield from (match[0] for match in _SENTENCE.finditer(line) if match[0])
        start = end
