"""Find the ends of sentences in token ids, without decoding the text.

A position is the end of a paragraph if the previous token ends with a newline. It is the end of a sentence if the
previous token ends with `.`, `!`, `?` or an equivalent, optionally followed by closing quotes or brackets, and the next
token starts with white space (so 3.14 is not cut). Abbreviations count as ends of sentences, which is harmless here.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from tokenizer.text.tokenizer import TextTokenizer

_PARAGRAPH, _SENTENCE = 2, 1
_END = re.compile("[.!?\u2026\u3002\uff01\uff1f\u0964][\"'\u2019\u201d\u00bb)\\]]*\\s*$")


class SentenceEnds:
    """Lookup tables over the vocabulary of one text model."""

    def __init__(self, text: TextTokenizer) -> None:
        surfaces = [surface.decode("utf-8", errors="replace") for surface in text.surfaces]
        self._ends = np.array([_end_of(surface) for surface in surfaces], np.int8)
        self._opens = np.array([surface[:1].isspace() for surface in surfaces], np.bool_)

    def tokens_to_move(self, tokens: NDArray[np.uint32]) -> int:
        """Return by how many tokens, at most n - 2, to move back the cut before the last of `tokens` [n >= 2].

        The end of a paragraph is preferred to the end of a sentence, and a near one to a far one. Returns 0 if there is
        neither. If the closing quote of a sentence is a separate token, the sentence ends after it.
        """
        ends = self._ends[tokens[:-1]]
        ends = np.where((ends == _SENTENCE) & ~self._opens[tokens[1:]], 0, ends)[::-1]
        return int(np.argmax(ends == ends.max())) if ends.any() else 0


def _end_of(surface: str) -> int:
    if surface.endswith("\n"):
        return _PARAGRAPH
    return _SENTENCE if _END.search(surface) else 0
