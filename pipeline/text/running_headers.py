"""The furniture of printed pages in a scan: page numbers and running heads.

Two signs make a line furniture, and one is never enough: its place at the edge of a page and its coming again. Where
the scan keeps page ends (form feeds), a line is at an edge where it is first or last of its page. Elsewhere page
numbers are found as what they are, numbers on lines of their own that count up by one about a page apart.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import pairwise
from statistics import median

_NUMBER = re.compile(r"\W{0,3}(?:p(?:age|g)?\.? ?)?(\d{1,4})\W{0,3}", re.I)
_ROMAN = re.compile(r"\W{0,2}[ivxlc]{1,8}\W{0,2}")
_HEADED = re.compile(r"(?:(\d{1,4})\W{1,6}(\D{3,60}?)|(\D{3,60}?)\W{1,6}(\d{1,4}))\s*")
_FEWEST_PAGES = 6
_NEAREST, _FARTHEST = 20, 90  # lines between the numbers of two pages; sonnets have 17
_UNEVEN = 0.12  # of the middle distance: most pages are about as long as each other, chapters are not
_CHAPTER = re.compile(r"\W*(?:chap|kapitel|cap[ií]t|book|part|psalm|section|canto|letter|act|scene|verse|lesson)", re.I)
_DIGITS = re.compile(r"\d+")
_MARK = r"[\[{](?:pg|page)\.? ?\d{1,4}[\]}]"
_MARK_LINE = re.compile(rf"^[ \t]*{_MARK}[ \t]*(?:\n|\Z)|^{_MARK}[ \t]*", re.I | re.M)
_MARK_WITHIN = re.compile(rf"(?<=\S)[ \t]?{_MARK}(?=[ \t\n]|\Z)|{_MARK}", re.I)


def strip_running_headers(text: str) -> tuple[str, float]:
    """Return `text` without page numbers and running heads, and how many lines and marks were taken out.

    A sentence that went on over the page goes on in the next line; form feeds stay, at the beginning of a line.
    """
    marked, marks = _without_marks(text)
    lines = marked.replace("\f", "\n\f").replace("\n\n\f", "\n\f").split("\n") if "\f" in marked else marked.split("\n")
    paged = [i for i, line in enumerate(lines) if line.startswith("\f")]
    drop = _at_edges(lines, paged) if len(paged) >= _FEWEST_PAGES else _counting_up(lines)
    if not drop:
        return (marked, float(marks)) if marks else (text, 0.0)
    return "\n".join(_without(lines, drop)), float(len(drop) + marks)


def _without_marks(text: str) -> tuple[str, int]:
    """Take out marks such as [Pg 12], which transcriptions put where a page began."""
    if "[" not in text and "{" not in text:
        return text, 0
    text, lines = _MARK_LINE.subn("", text)
    text, within = _MARK_WITHIN.subn("", text)
    return text, lines + within


def _at_edges(lines: list[str], paged: list[int]) -> set[int]:
    """Return the lines at the edges of pages that count the pages, or stand there on many."""
    bounds = [0, *paged, len(lines)]
    edges: list[tuple[int, int]] = []  # page, line
    for page, (start, end) in enumerate(pairwise(bounds)):
        filled = [i for i in range(start, end) if lines[i].strip()]
        chosen = {*filled[:2], *filled[-2:]} if len(filled) > 4 else {*filled[:1], *filled[-1:]}
        edges += [(page, i) for i in sorted(chosen)]
    ahead = {i: number - page for page, i in edges if (number := _page_number(lines[i])) is not None}
    shift = Counter(ahead.values())
    numbered = {i for i, by in ahead.items() if shift[by] >= 3}
    romans = [i for _, i in edges if _ROMAN.fullmatch(lines[i].strip())]
    often = Counter(_key(lines[i]) for _, i in edges)
    fewest = max(3, len(paged) // 20)
    known = {key for key, count in often.items() if count >= fewest and len(key) <= 70} - {""}
    heads = {i for _, i in edges if _key(lines[i]) in known}
    return numbered | heads | (set(romans) if len(romans) >= 3 else set())


def _page_number(line: str) -> int | None:
    """Return the number that a line is, or that it has before or after a running head."""
    bare = line.strip()
    if match := _NUMBER.fullmatch(bare):
        return int(match[1])
    match = _HEADED.fullmatch(bare)
    return int(match[1] or match[4]) if match and not _CHAPTER.match(bare) else None


def _key(line: str) -> str:
    """Return a line as it is on other pages, too; "" for one that says nothing."""
    return " ".join(line.casefold().split()).strip(" .-–—|·")


def _counting_up(lines: list[str]) -> set[int]:
    """Return the lines of numbers that count up by one about a page apart, and of the heads beside them."""
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for i, line in enumerate(lines):
        if len(line) > 80 or not _DIGITS.search(line):
            continue
        if (number := _page_number(line)) is not None:
            found["" if _NUMBER.fullmatch(line.strip()) else "heads"].append((i, number))
    drop = {line for places in found.values() for chain in _chains(places) for line in chain}
    around = [_next_filled(lines, i, step) for i in sorted(drop) for step in (-1, 1)]
    beside = [(j, _key(lines[j])) for j in around if j >= 0]
    heads = Counter(key for _, key in beside)
    return drop | {j for j, key in beside if key and len(key) <= 60 and heads[key] >= max(4, len(drop) // 8)}


def _chains(places: list[tuple[int, int]]) -> list[list[int]]:
    """Return runs of lines whose numbers count up by one or two, each a page's length after the one before."""
    chains: list[list[tuple[int, int]]] = []
    for line, number in places:
        for chain in reversed(chains[-8:]):
            last_line, last = chain[-1]
            pages = number - last
            if pages in (1, 2, 3) and _NEAREST * pages <= line - last_line <= _FARTHEST * pages:
                chain.append((line, number))
                break
        else:
            chains.append([(line, number)])
    return [[line for line, _ in chain] for chain in chains if len(chain) >= _FEWEST_PAGES and _is_even(chain)]


def _is_even(chain: list[tuple[int, int]]) -> bool:
    pages = [(line - before) / (number - last) for (before, last), (line, number) in pairwise(chain)]
    middle = median(pages)
    return sum(abs(page - middle) <= _UNEVEN * middle for page in pages) >= len(pages) / 2


def _next_filled(lines: list[str], i: int, step: int) -> int:
    """Return the next line that is not blank, within three lines; -1 where there is none."""
    for j in range(i + step, i + 4 * step, step):
        if 0 <= j < len(lines) and lines[j].strip():
            return j
    return -1


def _without(lines: list[str], drop: set[int]) -> list[str]:
    """Return the other lines; where a page's edge was taken out, one blank line stays, or none within a sentence."""
    kept: list[str] = []
    feeds, in_gap = "", False
    for i, line in enumerate(lines):
        if i in drop or (in_gap and not line.strip()):
            feeds += "\f" * line.count("\f")
            in_gap = True
            continue
        if in_gap:
            blank = False
            while kept and not kept[-1].strip():
                feeds = "\f" * kept.pop().count("\f") + feeds
                blank = True
            blank = blank or not lines[i - 1].strip()
            if kept and blank and not _goes_on(kept[-1], line):
                kept.append("")
        kept.append(feeds + line)
        feeds, in_gap = "", False
    return kept


def _goes_on(before: str, after: str) -> bool:
    """Tell whether a sentence goes on from one line to another."""
    last, first = before.rstrip()[-1:], after.lstrip()[:1]
    return (last.isalpha() or last in ",;-") and first.islower()
