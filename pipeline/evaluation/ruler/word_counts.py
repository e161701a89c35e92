"""Counts of words: the ten commonest of a list (cwe), and the three commonest of a coded text (fwe)."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from scipy.special import zeta

from pipeline.evaluation.ruler.task import Material, Question
from pipeline.evaluation.ruler.words import all_words, letters
from schemas.errors import ConfigError

_LONG = 4096  # RULER repeats words more often from this context length on


@dataclass(frozen=True, kw_only=True)
class CommonWords:
    """Ask for the words that occur often in a list in which the others are rare; one solved example comes first."""

    common: int = 10
    reply_tokens: ClassVar[int] = 120  # as in RULER
    needs_haystack: ClassVar[bool] = False

    def first_size(self, tokens: int) -> int:
        """Return a size that probably fits a number of tokens."""
        return max(1, tokens // 20)

    def make(self, size: int, rng: random.Random, material: Material) -> Question:
        """Return a question; the size counts the rare words. Words are repeated less often in short contexts."""
        often, rarely = (30, 3) if material.length >= _LONG else (6, 1)
        example, words = self._words(10, rng), self._words(size, rng)
        shown = self._question(self._list(example, 3, 1, rng))
        asked = self._question(self._list(words, often, rarely, rng))
        return Question(f"{shown} {', '.join(example[: self.common])}\n\n{asked}", tuple(words[: self.common]))

    def _words(self, rare: int, rng: random.Random) -> list[str]:
        count = self.common + rare
        if count > len(all_words()):
            raise ConfigError(f"the task cwe has {len(all_words())} words, which is too few for this length")
        return rng.sample(all_words(), count)

    def _list(self, words: list[str], often: int, rarely: int, rng: random.Random) -> str:
        listed = words[: self.common] * often + words[self.common :] * rarely
        rng.shuffle(listed)
        return " ".join(f"{i}. {word}" for i, word in enumerate(listed, 1))

    def _question(self, listed: str) -> str:
        return (
            "Some words of the numbered list below occur more often than the others. Remember these.\n"
            f"{listed}\nQuestion: which {self.common} words occur most often in the list? Answer with the words only."
            "\nAnswer:"
        )


@dataclass(frozen=True, kw_only=True)
class FrequentWords:
    """Ask for the three commonest made-up words, whose counts follow Zipf's law; the commonest of all are dots."""

    alpha: float = 2.0
    asked: int = 3
    reply_tokens: ClassVar[int] = 50  # as in RULER
    needs_haystack: ClassVar[bool] = False

    def first_size(self, tokens: int) -> int:
        """Return a size that probably fits a number of tokens."""
        return tokens // 4

    def make(self, size: int, rng: random.Random, material: Material) -> Question:
        """Return a question; the size counts words. Raises ConfigError if so few words leave the order open."""
        vocabulary = list(dict.fromkeys(letters(6, rng, upper=False) for _ in range(2000)))
        counts = [int(size * rank**-self.alpha / zeta(self.alpha)) for rank in range(1, len(vocabulary) + 1)]
        if counts[self.asked] <= counts[self.asked + 1]:
            raise ConfigError(
                "this length is too short for the task fwe: its third and fourth words are equally common"
            )
        listed = ["..."] * counts[0]
        listed += [word for word, count in zip(vocabulary, counts[1:], strict=False) for _ in range(count)]
        rng.shuffle(listed)
        prompt = (
            f"Count the made-up words of the coded text below. {' '.join(listed)}\nQuestion: which {self.asked} "
            "made-up words occur most often in it? The dots '...' are not words. Answer with the words only."
        )
        return Question(prompt, tuple(vocabulary[: self.asked]))
