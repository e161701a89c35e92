"""Where a text may be cut without breaking a sentence, told from its token ids alone.

A place is the end of a paragraph where the token before it ends in a newline, and the end of a sentence where that ends
in `.`, `!`, `?` or their kin, closing quotes and brackets behind them allowed, and the token after it begins with a
space or a newline (so 3.14 is not cut). Abbreviations count as ends: among places to cut, that is no harm.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from tokenizer.text.sentencepiece import TextTokenizer

_PARAGRAPH, _SENTENCE = 2, 1
_END = re.compile("[.!?\u2026\u3002\uff01\uff1f\u0964][\"'\u2019\u201d\u00bb)\\]]*\\s*$")


class Sentences:
    """The tables for one text model."""

    def __init__(self, text: TextTokenizer) -> None:
        surfaces = [surface.decode("utf-8", errors="replace") for surface in text.surfaces]
        self._ends = np.array([_end_of(surface) for surface in surfaces], np.int8)
        self._opens = np.array([surface[:1].isspace() for surface in surfaces], np.bool_)

    def back(self, tokens: NDArray[np.uint32]) -> int:
        """Return by how many tokens the cut before the last of `tokens` [n >= 2] should move back, at most n - 2.

        The end of a paragraph is better than that of a sentence, and a near one better than a far one; 0 where there
        is neither. A sentence of which only the closing quote stands in a token of its own ends behind the quote.
        """
        ends = self._ends[tokens[:-1]]
        ends = np.where((ends == _SENTENCE) & ~self._opens[tokens[1:]], 0, ends)[::-1]
        return int(np.argmax(ends == ends.max())) if ends.any() else 0


def _end_of(surface: str) -> int:
    if surface.endswith("\n"):
        return _PARAGRAPH
    return _SENTENCE if _END.search(surface) else 0
