"""Quality rules for text as numbers: those of Gopher and FineWeb, of a passage and of a whole book.

Sources: Rae et al. 2021 (arXiv 2112.11446, table A1 and section A.1) and Penedo et al. 2024 (arXiv 2406.17557,
section 3.6), with the arithmetic of datatrove's filters. Differences, and why:

- There is no maximum length. The repetition of n-grams in a book is the mean over its passages, weighted by their
  length: the published bounds are for web pages, and a long book repeats more n-grams than a short one.
- Words are those of pipeline.text.words, case-insensitive and without punctuation. datatrove's word tokenizers would
  have to be downloaded, and count rows of dashes in a table as repeated n-grams.
- Blank lines are not counted: the space between two paragraphs is not a line of a list.
- An n-gram that occurs once is not repeated.
- Rules that count words do not apply to text of which most is in a script without spaces between words, the rule for
  their length only to alphabets, whose words it was made for, and the rule for the ends of lines not to scripts
  without a full stop. The script of the text decides, not its language.

The default bounds are in pipeline.filters.limit_table. Cost: 3 million characters per second.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.text.scripts import SENTENCE_ENDS, UNPUNCTUATED
from pipeline.text.words import SYLLABIC_WORD, UNSPACED_WORD, Words, shingles, split_words
from schemas.deadline import checked

VERSION = 2  # raise it if the same text would give other numbers
STOP_WORDS = {name: split_words(name).hashes[0] for name in "the be to of and that have with".split()}  # noqa: SIM905
_NUMBER = re.compile(r"(?<![^\W_])\d+(?![^\W_])")
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")
_TERMINAL = tuple(sorted(SENTENCE_ENDS))
_UNPUNCTUATED = re.compile(rf"[{UNPUNCTUATED}](?<=[^\W_])")
_CLOSING = "\"'”’»›)]*_"  # may follow terminal punctuation
_BULLETS = ("•", "-", "*", "–", "‣", "◦")
_ELLIPSES = ("...", "…")
_TOP, _REPEATED = (2, 3, 4), (5, 6, 7, 8, 9, 10)  # sizes of n-grams
NGRAM_RULES = (*(f"top_{n}gram" for n in _TOP), *(f"repeated_{n}gram" for n in _REPEATED))
_SHORT_LINE = 30  # characters


@dataclass
class TextCounts:
    """Counts of one text; the counts of a text are the sum of those of its passages."""

    characters: int = 0
    words: int = 0
    word_characters: int = 0
    unspaced_characters: int = 0  # of words in scripts without spaces
    unpunctuated_characters: int = 0  # in scripts without a full stop
    alphabetic_words: int = 0  # in neither those nor scripts of syllables
    alphabetic_characters: int = 0
    numbers_alone: int = 0  # words of digits only
    hashes: int = 0
    ellipses: int = 0
    lines: int = 0
    bullet_lines: int = 0
    ellipsis_lines: int = 0
    ended_lines: int = 0
    short_lines: int = 0
    stop_words: set[str] = field(default_factory=set)
    ngrams: Counter[str] = field(default_factory=Counter)  # characters in top or repeated n-grams, by rule

    @classmethod
    def of(cls, text: str, words: Words | None = None) -> TextCounts:
        """Return the counts of one passage; `words` are its words, if they are known already."""
        words = split_words(text) if words is None else words
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        word_characters = int(np.sum(words.ends - words.starts))
        unspaced, syllabic = _count(UNSPACED_WORD, text), _count(SYLLABIC_WORD, text)
        return cls(
            characters=len(text),
            words=len(words.hashes),
            word_characters=word_characters,
            unspaced_characters=unspaced.characters,
            unpunctuated_characters=_count(_UNPUNCTUATED, text).characters,
            alphabetic_words=len(words.hashes) - unspaced.words - syllabic.words,
            alphabetic_characters=word_characters - unspaced.characters - syllabic.characters,
            numbers_alone=len(_NUMBER.findall(text)),
            hashes=text.count("#"),
            ellipses=sum(map(text.count, _ELLIPSES)),
            lines=len(lines),
            bullet_lines=sum(line.startswith(_BULLETS) for line in lines),
            ellipsis_lines=sum(line.endswith(_ELLIPSES) for line in lines),
            ended_lines=sum(line.rstrip(_CLOSING).endswith(_TERMINAL) for line in lines),
            short_lines=sum(len(line) <= _SHORT_LINE for line in lines),
            stop_words={name for name, value in STOP_WORDS.items() if value in words.hashes},
            ngrams=_ngram_characters(words),
        )

    @classmethod
    def sum(cls, counts: Iterable[TextCounts]) -> TextCounts:
        """Return the counts of several passages together."""
        total = cls()
        for one in counts:
            for name in _SUMMED:
                setattr(total, name, getattr(total, name) + getattr(one, name))
            total.stop_words |= one.stop_words
            total.ngrams.update(one.ngrams)
        return total

    def numbers(self, language: str | None) -> dict[str, float]:
        """Return the numbers of the rules that apply to a language (ISO 639; None: unknown)."""
        found = {
            "gopher_bullet_lines": self.bullet_lines / max(1, self.lines),
            "gopher_ellipsis_lines": self.ellipsis_lines / max(1, self.lines),
        }
        if not self._is_most(self.unpunctuated_characters):
            found["fineweb_ended_lines"] = self.ended_lines / max(1, self.lines)
        if self._is_most(self.unspaced_characters):
            return found
        if self._is_most(self.alphabetic_characters):
            found["gopher_word_length"] = self.alphabetic_characters / max(1, self.alphabetic_words)
        found |= {
            "gopher_symbols": max(self.hashes, self.ellipses) / max(1, self.words),
            "gopher_alphabetic_words": 1 - self.numbers_alone / max(1, self.words),
            "fineweb_short_lines": self.short_lines / max(1, self.lines),
            "fineweb_lines_per_word": self.lines / max(1, self.words),
        }
        found |= {f"gopher_{name}": self.ngrams[name] / max(1, self.characters) for name in NGRAM_RULES}
        if language == "en":
            found["gopher_stop_words"] = float(len(self.stop_words))
        return found

    def _is_most(self, characters: int) -> bool:
        return 2 * characters > self.word_characters


class _Count(NamedTuple):
    words: int
    characters: int


def _count(pattern: re.Pattern[str], text: str) -> _Count:
    if text.isascii():
        return _Count(0, 0)
    found = pattern.findall(text)
    return _Count(len(found), sum(map(len, found)))


_SUMMED = tuple(name for name in TextCounts.__dataclass_fields__ if name not in ("stop_words", "ngrams"))


def repetition(text: str) -> dict[str, float]:
    """Return the shares of repeated lines and paragraphs, and of the characters in them.

    Lines and paragraphs without a letter or digit (rules, rows of asterisks) are not counted.
    """
    lines = [line.strip() for line in checked(text.split("\n")) if _LETTER_OR_DIGIT.search(line)]
    paragraphs = [p.strip() for p in checked(re.split(r"\n\s*\n", text)) if _LETTER_OR_DIGIT.search(p)]
    found: dict[str, float] = {}
    for name, parts in (("line", lines), ("paragraph", paragraphs)):
        count, characters = _repeats(parts)
        found[f"gopher_repeated_{name}s"] = count / max(1, len(parts))
        found[f"gopher_repeated_{name}_characters"] = characters / max(1, len(text))
    return found


def measure(text: str, language: str | None, counts: TextCounts | None = None) -> Mapping[str, float]:
    """Return the numbers of all rules for a text; `counts` are those of its passages, if it has several."""
    return {**(counts or TextCounts.of(text)).numbers(language), **repetition(text)}


def _repeats(parts: Sequence[str]) -> tuple[int, int]:
    """Return how many parts repeat an earlier one, and the characters in them."""
    seen: set[str] = set()
    count = characters = 0
    for part in checked(parts):
        if part in seen:
            count += 1
            characters += len(part)
        seen.add(part)
    return count, characters


def _ngram_characters(words: Words) -> Counter[str]:
    """Return the characters in the most frequent n-gram of each size in `_TOP`, and in repeated ones of `_REPEATED`."""
    before = np.concatenate([[0], np.cumsum(words.ends - words.starts)])  # characters of the words before each word
    found: Counter[str] = Counter()
    for n in (*_TOP, *_REPEATED):
        ngrams = shingles(words.hashes, n)
        if not len(ngrams):
            continue
        _, first, counts = np.unique(ngrams, return_index=True, return_counts=True)
        if n in _TOP:
            found[f"top_{n}gram"] = _top_characters(first, counts, before, n)
        else:
            is_repeat = np.ones(len(ngrams), np.bool_)
            is_repeat[first] = False
            found[f"repeated_{n}gram"] = _covered_characters(np.flatnonzero(is_repeat).tolist(), before.tolist(), n)
    return found


def _top_characters(first: NDArray[np.int64], counts: NDArray[np.int64], before: NDArray[np.int64], n: int) -> int:
    """Return the characters, spaces included, in all occurrences of the most frequent n-gram; 0 if none repeats."""
    if counts.max() <= 1:
        return 0
    characters = before[first + n] - before[first]
    return int(counts.max() * (characters[counts == counts.max()].max() + n - 1))


def _covered_characters(starts: Sequence[int], before: Sequence[int], n: int) -> int:
    """Return the characters of the words in the n-grams that start at `starts`; no word is counted twice."""
    characters = end = 0
    for start in starts:
        if start >= end:
            end = start + n
            characters += before[end] - before[start]
    return characters
