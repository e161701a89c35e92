"""Retrieval: facts in filler sentences, in a text, or among other facts of the same form (niah_*)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pipeline.evaluation.ruler.task import FILLER, Material, Question
from pipeline.evaluation.ruler.words import Kind, distinct, fact
from schemas.errors import ConfigError

_FACT = "One of the secret {kind} of {key} is: {value}."
_DEPTHS = 40  # as in RULER, texts are divided at so many depths
_WORDS = {"numbers": "number", "words": "word", "uuids": "UUID"}


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    """Hide `values` facts of each of `keys` keys, and ask for those of `queries` keys."""

    context: Literal["filler", "text", "facts"]
    key_kind: Kind = "words"
    value_kind: Kind = "numbers"
    keys: int = 1
    values: int = 1
    queries: int = 1
    reply_tokens: ClassVar[int] = 128  # as in RULER

    @property
    def needs_haystack(self) -> bool:
        """Whether the context is text that the user gives."""
        return self.context == "text"

    def first_size(self, tokens: int) -> int:
        """Return a size that probably fits a number of tokens."""
        return {"filler": tokens // 30, "text": tokens, "facts": tokens // 40}[self.context]

    def make(self, size: int, rng: random.Random, material: Material) -> Question:
        """Return a question; the size counts tokens of text, or lines."""
        keys = distinct(self.key_kind, self.keys, rng)
        values = distinct(self.value_kind, self.keys * self.values, rng)
        owned = {key: values[i * self.values : (i + 1) * self.values] for i, key in enumerate(keys)}
        asked = rng.sample(keys, self.queries)
        needles = [self._fact(key, value) for key, of_key in owned.items() for value in of_key]
        rng.shuffle(needles)
        answers = tuple(value for key in asked for value in owned[key])
        return Question(self._prompt(self._context(size, needles, rng, material), asked, len(answers)), answers)

    def _context(self, size: int, needles: Sequence[str], rng: random.Random, material: Material) -> str:
        if self.context == "text":
            if material.haystack is None:
                raise ConfigError("this task needs a text; give one with --haystack")
            depths = [depth / (_DEPTHS - 1) for depth in rng.sample(range(_DEPTHS), len(needles))]
            inserted = {depth: f" {needle} " for depth, needle in zip(depths, needles, strict=True)}
            start = material.haystack.start(rng.random(), size)
            return material.haystack.filled(start, size, inserted).text
        places = [rng.random() for _ in needles]
        line = FILLER if self.context == "filler" else None
        lines = [line or self._fact(fact(self.key_kind, rng), fact(self.value_kind, rng)) for _ in range(size)]
        for place, needle in sorted(zip(places, needles, strict=True), reverse=True):
            lines.insert(round(place * size), needle)
        return "\n".join(lines)

    def _fact(self, key: str, value: str) -> str:
        return _FACT.format(kind=_plural(self.value_kind), key=key, value=value)

    def _prompt(self, context: str, asked: Sequence[str], answers: int) -> str:
        what = _WORDS[self.value_kind] if answers == 1 else _plural(self.value_kind)
        names = asked[0] if len(asked) == 1 else f"{', '.join(asked[:-1])} and {asked[-1]}"
        question = (
            f"What is the secret {what} of {names}?" if answers == 1 else f"What are all secret {what} of {names}?"
        )
        return (
            f"Secret {_plural(self.value_kind)} are hidden in the text below. Remember them; you will be asked about "
            f"them afterwards.\n{context}\n{question} Answer with the {what} only, as in the text."
        )


def _plural(kind: Kind) -> str:
    return f"{_WORDS[kind]}s"
