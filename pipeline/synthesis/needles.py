"""Needles to learn from: facts about cities hidden in a text, all of them asked for, in the words of `eval needle`.

A document has as many questions as its needles need, so that there is more to learn from in it than one number.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.evaluation.haystack import Haystack
from pipeline.evaluation.needles import CITIES, NEEDLE, SYSTEM, question_about
from pipeline.synthesis.item import SynthConfig, SyntheticDocument, token_count
from pipeline.text.qa import Turn
from schemas.counted import counted
from schemas.errors import ConfigError
from tokenizer.text.tokenizer import TextTokenizer


@dataclass(frozen=True, kw_only=True)
class NeedleItems:
    """How many needles a document has, and how they are asked for."""

    needles: int = 1
    """Needles in each document; all are asked for."""
    asked: tuple[int, ...] = (1,)
    """Needles that one question asks for; of several numbers, such as 1 2, one is drawn for each question."""

    def __post_init__(self) -> None:
        if not self.asked or not all(1 <= asked <= self.needles <= len(CITIES) for asked in self.asked):
            raise ConfigError(
                f"asked and needles must satisfy 1 <= asked <= needles <= {len(CITIES)}, got "
                f"{' '.join(map(str, self.asked)) or 'nothing'} and {self.needles}"
            )

    def questions(self, rng: random.Random) -> Iterator[slice]:
        """Yield the needles of each question; the last one has those that remain."""
        first = 0
        while first < self.needles:
            yield slice(first, first := min(first + rng.choice(self.asked), self.needles))


@dataclass(frozen=True)
class _Facts:
    cities: Sequence[str]  # in the order of the questions
    numbers: Sequence[str]
    depths: Sequence[float]

    @classmethod
    def drawn(cls, count: int, rng: random.Random) -> _Facts:
        numbers = [str(number) for number in rng.sample(range(10**6, 10**7), count)]
        return cls(rng.sample(CITIES, count), numbers, [rng.random() for _ in range(count)])

    @property
    def needles(self) -> dict[float, str]:
        """The sentences by depth."""
        texts = [NEEDLE.format(city=city, number=n) for city, n in zip(self.cities, self.numbers, strict=True)]
        return dict(zip(self.depths, texts, strict=True))

    def turns(self, context: str, questions: Sequence[slice]) -> list[Turn]:
        """Return the document: the first question follows the text that hides the needles, as in the evaluation."""
        turns = [Turn("context", SYSTEM)]
        for some in questions:
            question = question_about(self.cities[some])
            turns.append(Turn("question", question if some.start else f"{context} {question}"))
            turns.append(Turn("answer", ", ".join(self.numbers[some])))
        return turns


def needle_documents(
    config: NeedleItems, synth: SynthConfig, haystack: Haystack, tokenizer: TextTokenizer
) -> Iterator[SyntheticDocument]:
    """Yield the documents. Raises ConfigError if the length is too short for the needles, or the haystack is."""
    for number in range(synth.count):
        rng = random.Random(f"needle/{synth.seed}/{synth.length}/{number}")
        facts = _Facts.drawn(config.needles, rng)
        share, questions = rng.random(), list(config.questions(rng))
        turns = _longest(facts, questions, synth.length, haystack, tokenizer, share)
        yield SyntheticDocument(turns, {"cities": facts.cities, "depths": [round(depth, 4) for depth in facts.depths]})


def _longest(
    facts: _Facts,
    questions: Sequence[slice],
    length: int,
    haystack: Haystack,
    tokenizer: TextTokenizer,
    share: float,
) -> list[Turn]:
    """Return the longest document that fits; joining texts can change how many tokens they have."""
    size = length - token_count(facts.turns("".join(facts.needles.values()), questions), tokenizer)
    while size >= 0:
        text = haystack.filled(haystack.start(share, size), size, facts.needles).text
        turns = facts.turns(text, questions)
        count = token_count(turns, tokenizer)
        if count <= length:
            return turns
        size -= count - length
    raise ConfigError(
        f"a length of {length} tokens is too short for {counted(len(facts.cities), 'needle')} with questions: raise "
        "--length or lower --needles"
    )
