"""Splits text into passages of about 2,000 words with content-defined chunking.

A passage ends after a line (or a sentence of a very long line) whose hash is small. Other editions of a book are
therefore split at the same places, and a change affects only the boundaries near it. A passage has at least 1,000
words, except for the last, and at most 4,000 plus one sentence.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.text.words import WORD
from schemas.deadline import checked

_MIN_WORDS, _MAX_WORDS = 1000, 4000
_MEAN_EXTRA_WORDS = 1000  # mean number of words beyond the minimum
_LONG_LINE = 2000  # characters; a longer line can be split between sentences
_SENTENCE = re.compile(r".{1,2000}?(?:[.!?…][\"'”’»)\]]*\s+|[。！？]|$)|.{1,2000}", re.S)
_HASHES = 1 << 64


class Passage(NamedTuple):
    """A part of a text, [start, end) in characters, and its number of words."""

    start: int
    end: int
    words: int


def split_passages(text: str) -> list[Passage]:
    """Return the passages of `text`, in order and without gaps; none for an empty text."""
    passages: list[Passage] = []
    start = end = words = 0
    for piece in checked(lines_or_sentences(text)):
        found = WORD.findall(piece)
        words += len(found)
        end += len(piece)
        if words >= _MAX_WORDS or (words >= _MIN_WORDS and _is_boundary(found)):
            passages.append(Passage(start, end, words))
            start, words = end, 0
    if end > start:
        passages.append(Passage(start, end, words))
    return passages


def _is_boundary(words: list[str]) -> bool:
    """Whether a passage can end after a line of these words; the probability grows with their number."""
    digest = hashlib.blake2b(" ".join(words).casefold().encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") * _MEAN_EXTRA_WORDS < len(words) * _HASHES


def lines_or_sentences(text: str) -> Iterator[str]:
    """Yield the lines of a text, and the sentences of long lines; together they are the text."""
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        line = text[start:end]
        if len(line) <= _LONG_LINE:
            yield line
        else:
            yield from (match[0] for match in _SENTENCE.finditer(line) if match[0])
        start = end
