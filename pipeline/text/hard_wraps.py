"""Hard-wrapped prose as one line a paragraph.

A line was broken by a typesetter, not by the author, where the next word would not have fitted into it. A book is
taken for hard-wrapped where most breaks within its paragraphs are of that kind, hardly a line is longer than the
width, and most lines go on in lower case: lines of verse begin with a capital. Within such a book each block of lines
is judged by the same two signs, and then each break: one where the next word would have fitted, and is no sentence's
middle, ends a paragraph. Lists, tables, code and blocks that are indented as a whole stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

_MOST_WIDTH = 120  # characters; longer lines are paragraphs
_FEWEST_BREAKS = 5
_FULL = 0.85  # of the width: set in proportional type, lines differ in their number of characters
_SURELY_FULL = 0.9  # share of lines without room for a word, from which type is taken for all of one width
_ITEM = re.compile(r"\s*(?:[-*•–—‣◦]\s|\(?\d{1,3}[.)]\s|\(?[a-zA-Z][.)]\s|#{1,6}\s|>|\||```|~~~)")
_GAP = re.compile(r"\S(?: {3}|\t)")
_INDENT = re.compile(r"[ \t]*")
_SPACED = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]")  # scripts that put no space between words


def join_lines(text: str) -> tuple[str, float]:
    """Return `text` with its hard-wrapped paragraphs on one line each, and the number of line ends taken out."""
    blocks = _blocks(text)
    full = _full_width(blocks)
    if not full:
        return text, 0.0
    parts, joined = [], 0
    for block in blocks:
        lines = _joined(block, full)
        joined += len(block) - len(lines)
        parts.append("\n".join(lines))
    return "\n".join(parts), float(joined)


def _blocks(text: str) -> list[list[str]]:
    """Return the lines in blocks: those without a blank line between, or one blank line alone."""
    blocks: list[list[str]] = []
    open_block = False
    for line in text.split("\n"):
        if not line.strip():
            blocks.append([line])
            open_block = False
        elif open_block:
            blocks[-1].append(line)
        else:
            blocks.append([line])
            open_block = True
    return blocks


def _full_width(blocks: list[list[str]]) -> float:
    """Return from how many characters on, with the next word, a line is full; 0 where lines are not hard-wrapped."""
    wrapped = [(line, after) for block in blocks for line, after in pairwise(block) if not _ITEM.match(after)]
    if len(wrapped) < _FEWEST_BREAKS:
        return 0.0
    lengths = np.array([len(line.rstrip()) for line, _ in wrapped])
    width = float(np.percentile(lengths, 90))
    longest = np.array([len(line) for block in blocks for line in block if line.strip()])
    if width > _MOST_WIDTH or np.mean(longest > 1.3 * width) > 0.02:
        return 0.0
    full = np.mean([_is_full(line, after, _FULL * width) for line, after in wrapped])
    if full < 0.5 or _begins_upper(after for _, after in wrapped) >= 0.6:
        return 0.0
    most = float(np.percentile(lengths, 99))
    going_on = [_is_full(line, after, most - 1) for line, after in wrapped if after.lstrip()[:1].islower()]
    return most - 1 if going_on and np.mean(going_on) >= _SURELY_FULL else _FULL * width


def _joined(block: list[str], full: float) -> list[str]:
    if len(block) == 1 or _stays(block):
        return block
    breaks = [(line, after) for line, after in pairwise(block) if not _ITEM.match(after)]
    if not breaks:
        return block
    going_on = sum(_goes_on(line, after, full) for line, after in breaks) / len(breaks)
    if going_on < 0.6 or (len(breaks) >= 2 and _begins_upper(after for _, after in breaks) >= 0.8):
        return block
    indents = [len(_INDENT.match(line)[0]) for line in block]  # type: ignore[index]  # it matches anything
    base = min(indents)
    lines = [[block[0]]]
    for line, after, indent in zip(block, block[1:], indents[1:], strict=False):
        is_indented = indent > base and not after.startswith("\f") and not _ITEM.match(lines[-1][0])
        if _ITEM.match(after) or is_indented or not _goes_on(line, after, full):
            lines.append([after])
        else:
            lines[-1][-1] = lines[-1][-1].rstrip()
            lines[-1] += [_between(line, after), after.lstrip(" \t")]
    return ["".join(parts) for parts in lines]


def _is_full(line: str, after: str, full: float) -> bool:
    """Tell whether the next line's first word would not have fitted into so many characters."""
    word = after.split(maxsplit=1)[0]
    return len(line.rstrip()) + 1 + min(len(word), 12) >= full


def _goes_on(line: str, after: str, full: float) -> bool:
    return _is_full(line, after, full) or after.lstrip()[:1].islower()


def _begins_upper(lines: Iterator[str]) -> float:
    letters = [line.lstrip()[:1] for line in lines]
    return sum(letter.isupper() for letter in letters) / max(1, len(letters))


def _stays(block: list[str]) -> bool:
    indented = all(line.startswith(("    ", "\t")) for line in block)
    return indented or block[0].lstrip().startswith(("```", "~~~")) or any(_is_table(line) for line in block)


def _is_table(line: str) -> bool:
    inner = line.strip()
    return "      " in inner or (("   " in inner or "\t" in inner) and len(_GAP.findall(inner)) >= 2)


def _between(line: str, after: str) -> str:
    if after.startswith("\f"):
        return ""
    last, first = line.rstrip()[-1:], after.lstrip()[:1]
    return "" if _SPACED.match(last) and _SPACED.match(first) else " "
