"""Removes running headers and footers of scanned pages, and page numbers.

A line is removed only if it is at the edge of a page and is repeated on other pages. Where the scan has page breaks
(form feeds), the edges are the first and last lines of each page. Otherwise page numbers are lines with a number, about
a page apart, that count up by one.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import pairwise
from statistics import median

from schemas.deadline import checked

_NUMBER = re.compile(r"\W{0,3}(?:p(?:age|g)?\.? ?)?(\d{1,4})\W{0,3}", re.I)
_ROMAN = re.compile(r"\W{0,2}[ivxlc]{1,8}\W{0,2}")
_NUMBERED_HEADER = re.compile(r"(?:(\d{1,4})\W{1,6}(\D{3,60}?)|(\D{3,60}?)\W{1,6}(\d{1,4}))\s*")
_MIN_PAGES = 6
_MIN_PAGE_LINES, _MAX_PAGE_LINES = 20, 90  # sonnets have 17 with their numbers
_MAX_DEVIATION = 0.12  # from the median page length: pages are about equally long, chapters are not
_CHAPTER = re.compile(r"\W*(?:chap|kapitel|cap[ií]t|book|part|psalm|section|canto|letter|act|scene|verse|lesson)", re.I)
_DIGITS = re.compile(r"\d+")
_MARK = r"[\[{](?:pg|page)\.? ?\d{1,4}[\]}]"
_MARK_LINE = re.compile(rf"^[ \t]*{_MARK}[ \t]*(?:\n|\Z)|^{_MARK}[ \t]*", re.I | re.M)
_MARK_WITHIN = re.compile(rf"(?<=\S)[ \t]?{_MARK}(?=[ \t\n]|\Z)|{_MARK}", re.I)


def strip_running_headers(text: str) -> tuple[str, float]:
    """Return `text` without page numbers and running headers, and the number of removed lines and marks.

    A sentence that spans two pages continues on the next line. Form feeds are kept, at the start of a line.
    """
    marked, marks = _without_page_marks(text)
    lines = marked.replace("\f", "\n\f").replace("\n\n\f", "\n\f").split("\n") if "\f" in marked else marked.split("\n")
    paged = [i for i, line in enumerate(lines) if line.startswith("\f")]
    drop = _repeated_at_page_edges(lines, paged) if len(paged) >= _MIN_PAGES else _consecutive_numbers(lines)
    if not drop:
        return (marked, float(marks)) if marks else (text, 0.0)
    return "\n".join(_without(lines, drop)), float(len(drop) + marks)


def _without_page_marks(text: str) -> tuple[str, int]:
    """Remove marks such as [Pg 12], with which transcriptions mark the start of a page."""
    if "[" not in text and "{" not in text:
        return text, 0
    text, lines = _MARK_LINE.subn("", text)
    text, within = _MARK_WITHIN.subn("", text)
    return text, lines + within


def _repeated_at_page_edges(lines: list[str], paged: list[int]) -> set[int]:
    """Return the lines at page edges that number the pages or are repeated on many pages."""
    bounds = [0, *paged, len(lines)]
    edges: list[tuple[int, int]] = []  # page, line
    for page, (start, end) in enumerate(pairwise(checked(bounds))):
        filled = [i for i in range(start, end) if lines[i].strip()]
        chosen = {*filled[:2], *filled[-2:]} if len(filled) > 4 else {*filled[:1], *filled[-1:]}
        edges += [(page, i) for i in sorted(chosen)]
    offsets = {i: number - page for page, i in edges if (number := _page_number(lines[i])) is not None}
    offset_counts = Counter(offsets.values())
    numbered = {i for i, offset in offsets.items() if offset_counts[offset] >= 3}
    romans = [i for _, i in edges if _ROMAN.fullmatch(lines[i].strip())]
    counts = Counter(_key(lines[i]) for _, i in edges)
    minimum = max(3, len(paged) // 20)
    known = {key for key, count in counts.items() if count >= minimum and len(key) <= 70} - {""}
    heads = {i for _, i in edges if _key(lines[i]) in known}
    return numbered | heads | (set(romans) if len(romans) >= 3 else set())


def _page_number(line: str) -> int | None:
    """Return the number of a page number line, or of a running header with a number before or after it."""
    bare = line.strip()
    if match := _NUMBER.fullmatch(bare):
        return int(match[1])
    match = _NUMBERED_HEADER.fullmatch(bare)
    return int(match[1] or match[4]) if match and not _CHAPTER.match(bare) else None


def _key(line: str) -> str:
    """Return a line in the form in which it is compared with other pages; "" for one without text."""
    return " ".join(line.casefold().split()).strip(" .-–—|·")


def _consecutive_numbers(lines: list[str]) -> set[int]:
    """Return the lines with numbers that count up by one about a page apart, and the repeated headers next to them."""
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for i, line in enumerate(checked(lines)):
        if len(line) > 80 or not _DIGITS.search(line):
            continue
        if (number := _page_number(line)) is not None:
            found["" if _NUMBER.fullmatch(line.strip()) else "heads"].append((i, number))
    drop = {line for places in found.values() for chain in _chains(places) for line in chain}
    around = [_next_filled(lines, i, step) for i in sorted(drop) for step in (-1, 1)]
    adjacent = [(j, _key(lines[j])) for j in around if j >= 0]
    heads = Counter(key for _, key in adjacent)
    return drop | {j for j, key in adjacent if key and len(key) <= 60 and heads[key] >= max(4, len(drop) // 8)}


def _chains(places: list[tuple[int, int]]) -> list[list[int]]:
    """Return runs of lines whose numbers count up by at most three, each a page's length per step apart."""
    chains: list[list[tuple[int, int]]] = []
    for line, number in checked(places):
        for chain in reversed(chains[-8:]):
            last_line, last = chain[-1]
            pages = number - last
            if pages in (1, 2, 3) and _MIN_PAGE_LINES * pages <= line - last_line <= _MAX_PAGE_LINES * pages:
                chain.append((line, number))
                break
        else:
            chains.append([(line, number)])
    return [[line for line, _ in chain] for chain in chains if len(chain) >= _MIN_PAGES and _is_even(chain)]


def _is_even(chain: list[tuple[int, int]]) -> bool:
    pages = [(line - before) / (number - last) for (before, last), (line, number) in pairwise(chain)]
    median_page = median(pages)
    return sum(abs(page - median_page) <= _MAX_DEVIATION * median_page for page in pages) >= len(pages) / 2


def _next_filled(lines: list[str], i: int, step: int) -> int:
    """Return the next non-blank line within three lines in direction `step`; -1 if there is none."""
    for j in range(i + step, i + 4 * step, step):
        if 0 <= j < len(lines) and lines[j].strip():
            return j
    return -1


def _without(lines: list[str], drop: set[int]) -> list[str]:
    """Return the lines that are not dropped. A dropped page edge leaves one blank line, or none inside a sentence."""
    kept: list[str] = []
    feeds, in_gap = 0, False
    for i, line in enumerate(checked(lines)):
        if i in drop or (in_gap and not line.strip()):
            feeds += line.count("\f")
            in_gap = True
            continue
        if in_gap:
            blank = False
            while kept and not kept[-1].strip():
                feeds += kept.pop().count("\f")
                blank = True
            blank = blank or not lines[i - 1].strip()
            if kept and blank and not _sentence_continues(kept[-1], line):
                kept.append("")
        kept.append("\f" * feeds + line)
        feeds, in_gap = 0, False
    return kept


def _sentence_continues(before: str, after: str) -> bool:
    """Whether a sentence continues from one line to the next."""
    last, first = before.rstrip()[-1:], after.lstrip()[:1]
    return (last.isalpha() or last in ",;-") and first.islower()
