"""Removes boilerplate from books: text that publishers of scans and transcriptions add before and after them.

Recognized are Project Gutenberg's header, license and credits, transcriber's notes, and the notices of Google Books and
the Internet Archive.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import dropwhile

from schemas.deadline import checked, checkpoint

_START = re.compile(
    r"^\W*(?:START\W{1,4}(?:OF )?(?:THE|THIS) PROJECT GUTENBERG\b.*|\*?END\*?\W{0,2}THE SMALL PRINT!.*\*END\*.*"
    r"|START OF (?:THE|THIS) PROJECT GUTENBERG.*)$",
    re.I,
)
_END = re.compile(r"^\W*END\W{1,4}(?:OF )?(?:THE |THIS )?PROJECT GUTENBERG(?!'s? editions).*$", re.I)
_SMALL_PRINT_END = re.compile(r"^\W*END\W{1,4}THE SMALL PRINT!.*$", re.I)
# Paragraphs that are never part of a book; searched for among its first and last paragraphs.
_NOTICES = re.compile(
    r"""this\ e-?(?:book|text)\ is\ for\ the\ use\ of\ anyone\ anywhere
    | ^\W*the\ project\ gutenberg\ (?:e-?book|e-?text)\b
    | ^\W*project\ gutenberg'?s?\b.{1,120},?\ by\b
    | ^\W*end\ of\ (?:the\ )?project\ gutenberg
    | \bwww\.gutenberg\.(?:org|net)\b
    | \bgutenberg\ (?:literary\ archive\ foundation|volunteers)\b
    | online\ distributed\ proofread
    | ^\W*\[?transcriber'?s?'?\ notes?\b
    | digital\ copy\ of\ a\ book\ that\ was\ preserved\ for\ generations
    | ^\W*about\ google\ book\ search
    | digiti[sz]ed\ by\ (?:the\ )?(?:internet\ archive|google)
    | ^\W*(?:release\ date|posting\ date|last\ updated|character\ set\ encoding):\s""",
    re.I | re.X,
)
_CREDIT = re.compile(
    r"\W*(?:this (?:e-?text|e-?book) (?:was )?)?(?:e-?text prepared|produced|transcribed|digitized|scanned) by\b", re.I
)
_MAX_CREDIT_CHARS = 300  # a longer paragraph that starts like a credit is part of the book
_SEARCHED_PARAGRAPHS = 40  # at each end of the book
_MAX_NOTICE_CHARS = 4000  # a longer paragraph is part of the book
_TRANSCRIBER = re.compile(r"\[\s*transcriber'?s?'? notes?\b[^\[\]]{0,2000}\]", re.I)


def strip_boilerplate(text: str) -> tuple[str, float]:
    """Remove what publishers of scans and transcriptions add around a book; also returns the share of characters."""
    kept = _TRANSCRIBER.sub("", "\n".join(_between_marks(text.split("\n"))))
    checkpoint()
    paragraphs = re.split(r"(\n\s*\n)", kept)  # text and white space alternate
    front = range(0, min(len(paragraphs), 2 * _SEARCHED_PARAGRAPHS), 2)
    back = range(max(0, (len(paragraphs) - 1) // 2 * 2 - 2 * _SEARCHED_PARAGRAPHS), len(paragraphs), 2)
    for i in {*front, *back}:
        if _is_notice(paragraphs[i]):
            paragraphs[i] = ""
            if i + 1 < len(paragraphs):
                paragraphs[i + 1] = ""
    result = "\n".join(_without_leading_credits("".join(paragraphs).split("\n"))).strip("\n") + "\n"
    if not result.strip():  # a text about Project Gutenberg itself
        return text, 0.0
    lost = len(text) - len(result)
    return (result, lost / len(text)) if lost > 0 and result.strip() != text.strip() else (text, 0.0)


def _between_marks(lines: list[str]) -> Iterator[str]:
    """Yield the lines between Project Gutenberg's marks: from a start mark, or the first line, to the next end mark."""
    starts = [i for i, line in enumerate(checked(lines)) if "gutenberg" in line.lower() and _START.match(line)]
    starts += [i for i, line in enumerate(lines) if "SMALL PRINT" in line and _SMALL_PRINT_END.match(line)]
    ends = [i for i, line in enumerate(lines) if "gutenberg" in line.lower() and _END.match(line)]
    if not starts and not ends:
        yield from lines
        return
    inside, marks = not starts, {**dict.fromkeys(ends, False), **dict.fromkeys(starts, True)}
    for i, line in enumerate(checked(lines)):
        if i in marks:
            inside = marks[i]
        elif inside:
            yield line


def _is_notice(paragraph: str) -> bool:
    return _is_credit(paragraph) or (len(paragraph) <= _MAX_NOTICE_CHARS and _NOTICES.search(paragraph) is not None)


def _is_credit(text: str) -> bool:
    return len(text) <= _MAX_CREDIT_CHARS and _CREDIT.match(text) is not None


def _without_leading_credits(lines: Iterable[str]) -> Iterator[str]:
    """Drop credits in the first lines: in some files no blank line separates them from the book."""
    return dropwhile(lambda line: not line.strip() or _is_credit(line), lines)
