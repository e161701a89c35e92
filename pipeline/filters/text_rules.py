"""Rules for text as numbers: Gopher's and FineWeb's, of a passage and of a whole book.

Sources: Rae et al. 2021 (arXiv 2112.11446, table A1 and section A.1) and Penedo et al. 2024 (arXiv 2406.17557,
section 3.6), with the arithmetic of datatrove's filters, whose own word tokenizers would have to be installed and
fetched. What differs, and why:

- No upper limit on length. A book's repetition of runs of words is the mean over its passages, weighted by their
  length: the published bounds are for web pages, and any long book repeats more runs than a short one.
- Words are those of pipeline.text.words: whatever their case, without punctuation, of which rows of dashes in a table
  would count as repeated runs.
- Lines are those with something in them: a blank line between two paragraphs is no line of a list.
- A run of words that stands once is not repeated.

The default bounds are in pipeline.filters.limit_table. Cost: 3 million characters a second.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.text.language import UNSPACED
from pipeline.text.words import Words, shingles, split_words

VERSION = 1  # counts up when the same text would give other numbers
STOP_WORDS = {name: split_words(name).hashes[0] for name in "the be to of and that have with".split()}  # noqa: SIM905
_NUMBER = re.compile(r"(?<![^\W_])\d+(?![^\W_])")
_SAYS = re.compile(r"[^\W_]")
_TERMINAL = tuple(".?!。？！．｡…‼⁇⁈⁉؟۔।॥።։᙮")
_CLOSING = "\"'”’»›)]*_"
_BULLETS = ("•", "-", "*", "–", "‣", "◦")
_TOP, _REPEATED = (2, 3, 4), (5, 6, 7, 8, 9, 10)
RUNS = (*(f"top_{n}gram" for n in _TOP), *(f"repeated_{n}gram" for n in _REPEATED))
_SHORT_LINE = 30  # characters


@dataclass
class Tally:
    """What is counted in one text; the sums of several texts are those of the whole."""

    characters: int = 0
    words: int = 0
    word_characters: int = 0
    numbers_alone: int = 0
    hashes: int = 0
    ellipses: int = 0
    lines: int = 0
    bullets: int = 0
    trailing_off: int = 0
    ended: int = 0
    short: int = 0
    stop_words: set[str] = field(default_factory=set)
    repeated: Counter[str] = field(default_factory=Counter)  # characters in runs that come again, by rule

    @classmethod
    def of(cls, text: str, words: Words | None = None) -> Tally:
        """Count one passage; `words` are its words, where they are known already."""
        words = split_words(text) if words is None else words
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        return cls(
            characters=len(text),
            words=len(words.hashes),
            word_characters=int(np.sum(words.ends - words.starts)),
            numbers_alone=len(_NUMBER.findall(text)),
            hashes=text.count("#"),
            ellipses=text.count("...") + text.count("…"),
            lines=len(lines),
            bullets=sum(line.startswith(_BULLETS) for line in lines),
            trailing_off=sum(line.endswith(("...", "…")) for line in lines),
            ended=sum(line.rstrip(_CLOSING).endswith(_TERMINAL) for line in lines),
            short=sum(len(line) <= _SHORT_LINE for line in lines),
            stop_words={name for name, value in STOP_WORDS.items() if value in words.hashes},
            repeated=_repeated(words),
        )

    @classmethod
    def sum(cls, tallies: Iterable[Tally]) -> Tally:
        """Return the counts of several passages together."""
        total = cls()
        for tally in tallies:
            for name in _SUMMED:
                setattr(total, name, getattr(total, name) + getattr(tally, name))
            total.stop_words |= tally.stop_words
            total.repeated.update(tally.repeated)
        return total

    def numbers(self, language: str | None) -> dict[str, float]:
        """Return the numbers that limits are set on, those that say something about this language."""
        found = {
            "gopher_bullet_lines": self.bullets / max(1, self.lines),
            "gopher_ellipsis_lines": self.trailing_off / max(1, self.lines),
            "fineweb_ended_lines": self.ended / max(1, self.lines),
        }
        if language in UNSPACED:
            return found
        found |= {
            "gopher_word_length": self.word_characters / max(1, self.words),
            "gopher_symbols": max(self.hashes, self.ellipses) / max(1, self.words),
            "gopher_alphabetic_words": 1 - self.numbers_alone / max(1, self.words),
            "fineweb_short_lines": self.short / max(1, self.lines),
            "fineweb_lines_per_word": self.lines / max(1, self.words),
        }
        found |= {f"gopher_{name}": self.repeated[name] / max(1, self.characters) for name in RUNS}
        if language == "en":
            found["gopher_stop_words"] = float(len(self.stop_words))
        return found


_SUMMED = tuple(name for name in Tally.__dataclass_fields__ if name not in ("stop_words", "repeated"))


def repetition(text: str) -> dict[str, float]:
    """Return the shares of lines and paragraphs, and of the characters in them, that stand in `text` before.

    Those without a letter or digit (rulers, rows of stars) say nothing, and do not count.
    """
    lines = [line.strip() for line in text.split("\n") if _SAYS.search(line)]
    paragraphs = [p.strip() for p in re.split(r"\n\s*\n", text) if _SAYS.search(p)]
    found: dict[str, float] = {}
    for name, parts in (("line", lines), ("paragraph", paragraphs)):
        count, characters = _duplicates(parts)
        found[f"gopher_repeated_{name}s"] = count / max(1, len(parts))
        found[f"gopher_repeated_{name}_characters"] = characters / max(1, len(text))
    return found


def measure(text: str, language: str | None, tally: Tally | None = None) -> Mapping[str, float]:
    """Return all numbers of a text; of a whole book with the `tally` of its passages."""
    return {**(tally or Tally.of(text)).numbers(language), **repetition(text)}


def _duplicates(parts: Sequence[str]) -> tuple[int, int]:
    seen: set[str] = set()
    count = characters = 0
    for part in parts:
        if part in seen:
            count += 1
            characters += len(part)
        seen.add(part)
    return count, characters


def _repeated(words: Words) -> Counter[str]:
    lengths = words.ends - words.starts
    before = np.concatenate([[0], np.cumsum(lengths)])  # letters before a word
    found: Counter[str] = Counter()
    for n in (*_TOP, *_REPEATED):
        runs = shingles(words.hashes, n)
        if not len(runs):
            continue
        _, first, counts = np.unique(runs, return_index=True, return_counts=True)
        if n in _TOP:
            letters = before[first + n] - before[first]
            often = counts == counts.max()
            found[f"top_{n}gram"] = int(counts.max() * (letters[often].max() + n - 1)) if counts.max() > 1 else 0
        else:
            again = np.ones(len(runs), np.bool_)
            again[first] = False
            found[f"repeated_{n}gram"] = _letters(np.flatnonzero(again).tolist(), before.tolist(), n)
    return found


def _letters(starts: Sequence[int], before: Sequence[int], n: int) -> int:
    """Return how many letters lie in the runs of `n` words that begin at `starts`, no word counted twice."""
    letters = end = 0
    for start in starts:
        if start >= end:
            end = start + n
            letters += before[end] - before[start]
    return letters
