"""Copying: a block of random words and digits, then the same block again and again; the repetitions have the loss.

A model learns from it to look for what it has read before and to go on as it went on there (induction heads; Olsson et
al., arXiv 2209.11895), which retrieval is made of. The length of the block must vary: with a fixed one a model learns
the distance instead of the content, and then finds no needle.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.evaluation.needles import CITIES
from pipeline.synthesis.item import SynthConfig, SyntheticDocument, token_count
from pipeline.text.qa import Turn
from schemas.errors import ConfigError
from tokenizer.text.tokenizer import TextTokenizer

_DIGITS = "0123456789"


@dataclass(frozen=True, kw_only=True)
class CopyConfig:
    """What is repeated."""

    shortest: int = 6
    """Smallest number of words and digits in a block."""
    longest: int = 31
    """Largest number of words and digits in a block. The number is random for each block."""
    repeats: int = 3
    """How often a block is repeated. A document has as many blocks as fit."""
    digits: float = 0.5
    """Share of digits among words and digits."""

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest:
            raise ConfigError(f"shortest must lie in 1..longest, got {self.shortest} and {self.longest}")
        if self.repeats < 1:
            raise ConfigError(f"repeats must be at least 1, got {self.repeats}")
        if not 0 <= self.digits <= 1:
            raise ConfigError(f"digits must lie in 0..1, got {self.digits}")


def copy_documents(config: CopyConfig, synth: SynthConfig, tokenizer: TextTokenizer) -> Iterator[SyntheticDocument]:
    """Yield the documents. Raises ConfigError if the length is too short for a block."""
    for number in range(synth.count):
        rng = random.Random(f"copy/{synth.seed}/{synth.length}/{number}")
        turns, periods = _turns(config, synth.length, tokenizer, rng)
        if not turns:
            raise ConfigError(
                f"a length of {synth.length} tokens is too short for a block of up to {config.longest} words and its "
                f"{config.repeats} repetitions: raise --length, or lower --longest or --repeats"
            )
        yield SyntheticDocument(turns, {"periods": periods})


def _turns(
    config: CopyConfig, length: int, tokenizer: TextTokenizer, rng: random.Random
) -> tuple[list[Turn], list[int]]:
    """Return as many blocks as fit, and their numbers of words and digits."""
    turns: list[Turn] = []
    periods: list[int] = []
    while True:
        period = rng.randint(config.shortest, config.longest)
        block = "".join(_symbol(config, rng) for _ in range(period))
        longer = [*turns, Turn("context", block), Turn("answer", block * config.repeats)]
        if token_count(longer, tokenizer) > length:
            return turns, periods
        turns, periods = longer, [*periods, period]


def _symbol(config: CopyConfig, rng: random.Random) -> str:
    return rng.choice(_DIGITS) if rng.random() < config.digits else f" {rng.choice(CITIES)}"
