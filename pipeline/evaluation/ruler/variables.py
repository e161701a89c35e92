"""Variable tracking: a chain of assignments hidden in filler sentences; all variables with its value are asked (vt)."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import ClassVar

from pipeline.evaluation.ruler.task import FILLER, Material, Question
from pipeline.evaluation.ruler.words import letters

_EXAMPLE_LINES = 5


@dataclass(frozen=True, kw_only=True)
class VariableTracking:
    """Assign a number to a variable, that variable to the next, and so on for `hops`, after one solved example."""

    hops: int = 4
    reply_tokens: ClassVar[int] = 64  # more than RULER's 30, which cut names of several tokens
    needs_haystack: ClassVar[bool] = False

    def first_size(self, tokens: int) -> int:
        """Return a size that probably fits a number of tokens."""
        return tokens // 30

    def make(self, size: int, rng: random.Random, material: Material) -> Question:
        """Return a question; the size counts filler lines."""
        found: dict[str, None] = {}
        while len(found) < 2 * (self.hops + 1):
            found[letters(5, rng, upper=True)] = None
        names = list(found)
        example, asked = names[: self.hops + 1], names[self.hops + 1 :]
        first, second = rng.sample(range(10_000, 100_000), 2)
        shown = self._question(example, first, _EXAMPLE_LINES, rng)
        prompt = f"{shown} {', '.join(example)}\n\n{self._question(asked, second, size, rng)}"
        return Question(prompt, tuple(asked))

    def _question(self, names: list[str], value: int, size: int, rng: random.Random) -> str:
        steps = [f"VAR {names[0]} = {value}"]
        steps += [f"VAR {after} = VAR {before}" for before, after in itertools.pairwise(names)]
        places = sorted(rng.random() for _ in steps)
        lines = [FILLER] * size
        for place, step in reversed(list(zip(places, steps, strict=True))):
            lines.insert(round(place * size), step)
        context = "\n".join(lines)
        return (
            "Follow the assignments of variables that are hidden in the text below.\n\n"
            f"{context}\n\nQuestion: which {len(names)} variables have the value {value} in this text, directly or "
            "through other variables? Answer with their names only.\nAnswer:"
        )
