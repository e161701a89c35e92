"""Joins the lines of hard-wrapped prose to one line per paragraph.

A line break is a hard wrap if the next word would not have fitted into the line. A book is hard-wrapped if most breaks
inside its paragraphs are of that kind, hardly any line is longer than the width, and most lines continue in lower
case (lines of verse start with a capital). In such a book, each block of lines is judged by the same criteria, and
then each break: a break at which the next word would have fitted, and does not continue a sentence, ends a paragraph.
Lists, tables, code and indented blocks stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from pipeline.text.scripts import UNSPACED
from schemas.deadline import checked

_MAX_WIDTH = 120  # characters; longer lines are paragraphs
_MIN_BREAKS = 5
_FULL_SHARE = 0.85  # of the width: in proportional type, lines differ in their number of characters
_MONOSPACED_SHARE = 0.9  # share of lines without room for a word, from which type is considered monospaced
_ITEM = re.compile(r"\s*(?:[-*•–—‣◦]\s|\(?\d{1,3}[.)]\s|\(?[a-zA-Z][.)]\s|#{1,6}\s|>|\||```|~~~)")
_GAP = re.compile(r"\S(?: {3}|\t)")
_INDENT = re.compile(r"[ \t]*")
_UNSPACED = re.compile(f"[{UNSPACED}\uff00-\uffef]")  # and full-width punctuation


def join_lines(text: str) -> tuple[str, float]:
    """Return `text` with each hard-wrapped paragraph on one line, and the number of removed line breaks."""
    blocks = _blocks(text)
    full = _full_width(blocks)
    if not full:
        return text, 0.0
    parts, joined = [], 0
    for block in checked(blocks):
        lines = _joined(block, full)
        joined += len(block) - len(lines)
        parts.append("\n".join(lines))
    return "\n".join(parts), float(joined)


def _blocks(text: str) -> list[list[str]]:
    """Return the lines in blocks: lines without a blank line between them, or a single blank line."""
    blocks: list[list[str]] = []
    open_block = False
    for line in checked(text.split("\n")):
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
    """Return the length from which a line with the next word is full; 0 if the text is not hard-wrapped."""
    wrapped = [(line, after) for block in blocks for line, after in pairwise(block) if not _ITEM.match(after)]
    if len(wrapped) < _MIN_BREAKS:
        return 0.0
    lengths = np.array([len(line.rstrip()) for line, _ in wrapped])
    width = float(np.percentile(lengths, 90))
    longest = np.array([len(line) for block in blocks for line in block if line.strip()])
    if width > _MAX_WIDTH or np.mean(longest > 1.3 * width) > 0.02:
        return 0.0
    full = np.mean([_is_full(line, after, _FULL_SHARE * width) for line, after in checked(wrapped)])
    if full < 0.5 or _uppercase_share(after for _, after in wrapped) >= 0.6:
        return 0.0
    longest_full = float(np.percentile(lengths, 99))
    continued = [_is_full(line, after, longest_full - 1) for line, after in wrapped if after.lstrip()[:1].islower()]
    return longest_full - 1 if continued and np.mean(continued) >= _MONOSPACED_SHARE else _FULL_SHARE * width


def _joined(block: list[str], full: float) -> list[str]:
    if len(block) == 1 or _is_preformatted(block):
        return block
    breaks = [(line, after) for line, after in pairwise(block) if not _ITEM.match(after)]
    if not breaks:
        return block
    continued = sum(_continues(line, after, full) for line, after in breaks) / len(breaks)
    if continued < 0.6 or (len(breaks) >= 2 and _uppercase_share(after for _, after in breaks) >= 0.8):
        return block
    indents = [len(_INDENT.match(line)[0]) for line in block]  # type: ignore[index]  # the pattern matches every line
    base = min(indents)
    lines = [[block[0]]]
    for line, after, indent in checked(zip(block, block[1:], indents[1:], strict=False)):
        is_indented = indent > base and not after.startswith("\f") and not _ITEM.match(lines[-1][0])
        if _ITEM.match(after) or is_indented or not _continues(line, after, full):
            lines.append([after])
        else:
            lines[-1][-1] = lines[-1][-1].rstrip()
            lines[-1] += [_separator(line, after), after.lstrip(" \t")]
    return ["".join(parts) for parts in lines]


def _is_full(line: str, after: str, full: float) -> bool:
    """Whether the first word of the next line would have made this line longer than `full`."""
    word = after.split(maxsplit=1)[0]
    return len(line.rstrip()) + 1 + min(len(word), 12) >= full


def _continues(line: str, after: str, full: float) -> bool:
    return _is_full(line, after, full) or after.lstrip()[:1].islower()


def _uppercase_share(lines: Iterator[str]) -> float:
    letters = [line.lstrip()[:1] for line in lines]
    return sum(letter.isupper() for letter in letters) / max(1, len(letters))


def _is_preformatted(block: list[str]) -> bool:
    indented = all(line.startswith(("    ", "\t")) for line in block)
    return indented or block[0].lstrip().startswith(("```", "~~~")) or any(_is_table(line) for line in block)


def _is_table(line: str) -> bool:
    inner = line.strip()
    return "      " in inner or (("   " in inner or "\t" in inner) and len(_GAP.findall(inner)) >= 2)


def _separator(line: str, after: str) -> str:
    if after.startswith("\f"):
        return ""
    last, first = line.rstrip()[-1:], after.lstrip()[:1]
    return "" if _UNSPACED.match(last) and _UNSPACED.match(first) else " "
