"""Needles in a haystack: sentences about cities in a long text, and questions about some of them.

The texts are those of LWM's protocol (arXiv 2402.08268; scripts eval_needle and eval_needle_multi), with two defects
corrected: length and depth are counted in the ids of the evaluated model, and no city is drawn twice. A sample is made
only if the final ids contain every needle.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.haystack import Budget, Haystack
from pipeline.evaluation.sample import Sample
from pipeline.language_models.chat import user_request
from schemas.counted import counted
from schemas.errors import ConfigError, InternalError

SYSTEM = "You are a helpful assistant."
NEEDLE = "\nThe special magic {city} number is: {number}\n"
_ONE, _MANY = "What is the special magic {} number?", "What are the special magic numbers for {}?"
_ONE_RULE = "Don't give information outside the document or repeat your findings. Keep your response short and direct."
_MANY_RULE = "Don't give information outside the document or repeat your findings."
_REPLY_TOKENS = 64

CITIES = tuple(resources.files("pipeline.evaluation").joinpath("cities.txt").read_text().splitlines())


@dataclass(frozen=True, kw_only=True)
class NeedleConfig:
    """Which lengths and depths are measured, and with how many needles."""

    lengths: tuple[int, ...] = (1024, 2048, 4096)
    """Context lengths in tokens of the model, including the question and the reply."""
    depths: int = 5
    """Number of depths from 0 % to 100 % at which the first needle is put; further ones are put at random."""
    rounds: int = 3
    """Samples for each length and depth."""
    needles: int = 1
    """Needles in each text."""
    asked: int = 1
    """Needles that the question asks for; the score is the share of them in the reply."""
    seed: int = 0
    """Random seed of texts, cities and numbers."""

    def __post_init__(self) -> None:
        for name in ("depths", "rounds", "needles", "asked"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.asked <= self.needles <= len(CITIES):
            raise ConfigError(f"needles must lie between asked ({self.asked}) and {len(CITIES)}, got {self.needles}")
        if not self.lengths or min(self.lengths) < 1:
            raise ConfigError(f"lengths must be positive, got {self.lengths}")


def needle_samples(config: NeedleConfig, haystack: Haystack, budget: Budget) -> Iterator[Sample]:
    """Yield the samples, by length and depth. Raises ConfigError if a length is too short, or the haystack is."""
    for length in config.lengths:
        at_length = Budget(budget.tokenizer, length, _reply_tokens(config), budget.template_tokens)
        for depth in _depths(config.depths):
            for number in range(config.rounds):
                rng = random.Random(f"{config.seed}/{length}/{depth:.4f}/{number}")
                yield _sample(config, haystack, at_length, depth, rng, f"{length}/{depth:.4f}/{number}")


def _sample(
    config: NeedleConfig, haystack: Haystack, budget: Budget, depth: float, rng: random.Random, name: str
) -> Sample:
    cities = rng.sample(CITIES, config.needles)
    numbers = [str(number) for number in rng.sample(range(10**6, 10**7), config.needles)]
    needles = [NEEDLE.format(city=city, number=n) for city, n in zip(cities, numbers, strict=True)]
    depths = [depth, *(rng.random() for _ in needles[1:])]
    question, share = question_about(cities[: config.asked]), rng.random()
    prompt, ids = _longest(haystack, budget, dict(zip(depths, needles, strict=True)), question, share)
    _require(needles, budget.tokenizer.decode(ids), budget.length)
    return Sample(
        id=name,
        task="needle" if config.needles == 1 else f"{config.asked} of {config.needles} needles",
        request=user_request(prompt, max_tokens=budget.reply_tokens, system=SYSTEM),
        references=tuple(numbers[: config.asked]),
        scorer="contains_all",
        length=budget.length,
        depth=depth,
    )


def _longest(
    haystack: Haystack, budget: Budget, needles: dict[float, str], question: str, share: float
) -> tuple[str, NDArray[np.uint32]]:
    """Return the longest prompt that fits, and its ids; joining texts can change how many tokens they have."""
    left = budget.prompt_tokens
    length = left - budget.count(f" {question}") - sum(map(budget.count, needles.values()))
    while length > 0:
        prompt = f"{haystack.filled(haystack.start(share, length), length, needles).text} {question}"
        ids = budget.tokenizer.encode(prompt)
        if len(ids) <= left:
            return prompt, ids
        length -= len(ids) - left
    asked = counted(len(needles), "needle")
    raise ConfigError(f"a length of {budget.length} is too short for {asked} and the question")


def _require(needles: Sequence[str], decoded: str, length: int) -> None:
    """Raise InternalError unless the prompt, decoded from its ids, contains every needle."""
    for needle in needles:
        if needle.strip() not in decoded:
            raise InternalError(f"the needle {needle.strip()!r} is not in the prompt of {length} tokens")


def question_about(cities: Sequence[str]) -> str:
    """Return the question for the numbers of cities, with LWM's rules for the reply."""
    if len(cities) == 1:
        return f"{_ONE.format(cities[0])} {_ONE_RULE}"
    return f"{_MANY.format(', '.join(cities[:-1]) + ', and ' + cities[-1])} {_MANY_RULE}"


def _reply_tokens(config: NeedleConfig) -> int:
    return _REPLY_TOKENS * config.asked


def _depths(count: int) -> list[float]:
    return [0.5] if count == 1 else [i / (count - 1) for i in range(count)]
