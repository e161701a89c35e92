"""Joins words that are hyphenated at a line end, with the book's own vocabulary."""

from __future__ import annotations

import re
from collections import Counter

from schemas.deadline import checked, checkpoint

_HYPHEN = re.compile(r"(?<!\w)(\w{1,60})(-|\u00ad|\u2010)\n([ \t\f]{0,80})(\w+)")
_AT_LINE_END = ("-\n", "\u00ad\n", "\u2010\n")  # found much faster than the pattern
_WORD = re.compile(r"\w+(?:[-\u2010]\w+)*")


def join_hyphens(text: str) -> tuple[str, float]:
    """Join words that are split at a line end; also returns their number.

    "exam-" and "ple" become "example" if the book contains that word, or does not contain both parts as words; "well-"
    and "known" become "well-known" if the book contains that. Otherwise they stay split.
    """
    if not any(hyphen in text for hyphen in _AT_LINE_END) or not _HYPHEN.search(text):
        return text, 0.0
    words = checked(_WORD.finditer(_HYPHEN.sub(" ", text)))
    known = Counter(match[0].casefold() for match in words)
    joined = 0

    def join(match: re.Match[str]) -> str:
        nonlocal joined
        checkpoint()
        first, hyphen, indent, second = match.groups()
        feed = "\f" * indent.count("\f")
        whole, hyphened = (first + second).casefold(), f"{first}-{second}".casefold()
        is_soft = hyphen == "\u00ad"
        if not is_soft and known[hyphened] > known[whole]:
            joined += 1
            return f"{first}-{second}{feed}"
        parts_are_words = known[first.casefold()] and known[second.casefold()]
        if is_soft or (second[0].islower() and first[-1].isalpha() and (known[whole] or not parts_are_words)):
            joined += 1
            return first + second + feed
        return match[0]

    return _HYPHEN.sub(join, text), float(joined)
