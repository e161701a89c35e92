"""What the engine is asked, and what it answers.

All are plain values: the engine knows ids, not text. The caller converts, and gives `StopConditions.decode` if it stops
at text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError

FinishReason = Literal["stop", "length", "cancelled"]
# Ids generated so far -> mask of the ids that may follow, bool [V]. Called once per id.
AllowedIds = Callable[[Sequence[int]], NDArray[np.bool_]]

GREEDY_BELOW = 1e-5  # a lower temperature takes the likeliest id; logits divided by it would overflow
MOST_ALTERNATIVES = 20  # as in OpenAI's interface


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How an id is drawn from the logits. Filters apply in the order of the fields, each to what the ones before left.

    Ids whose logits equal that of the last one kept are kept, too.
    """

    repetition_penalty: float = 1.0  # of ids in the prompt or the reply: positive logits / it, negative ones * it
    temperature: float = 1.0  # 0: the likeliest id
    top_k: int = 0  # this many likeliest ids; 0: all
    top_p: float = 1.0  # the fewest likeliest ids with this probability together
    min_p: float = 0.0  # ids with at least this share of the likeliest id's probability
    seed: int = 0  # of all random numbers of the request; id n depends on seed and n alone

    def __post_init__(self) -> None:
        _require(0 <= self.temperature < math.inf, "temperature", "be a number of at least 0", self.temperature)
        _require(self.top_k >= 0, "top_k", "be at least 0 (0: all ids)", self.top_k)
        _require(0 < self.top_p <= 1, "top_p", "lie above 0 and up to 1", self.top_p)
        _require(0 <= self.min_p <= 1, "min_p", "lie in 0..1", self.min_p)
        _require(0 < self.repetition_penalty < math.inf, "repetition_penalty", "be above 0", self.repetition_penalty)
        _require(0 <= self.seed < 1 << 64, "seed", "lie in 0..2^64-1", self.seed)


@dataclass(frozen=True, kw_only=True)
class StopConditions:
    """What ends a reply before `Request.max_tokens`."""

    ids: tuple[int, ...] = ()  # for example the end of the document; not part of the reply
    texts: tuple[str, ...] = ()  # the id that completes one is the last of the reply
    decode: Callable[[Sequence[int]], str] | None = None  # needed by `texts`; it may get ids from the middle of a reply

    def __post_init__(self) -> None:
        _require(all(self.texts), "stop texts", "not be empty", self.texts)
        _require(not self.texts or self.decode is not None, "decode", "be given with stop texts", None)


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """Classifier-free guidance (Ho & Salimans, arXiv 2207.12598): logits = other + scale * (logits - other).

    `other` are the logits after `prompt`, a prompt without the condition (or with what to avoid), which is continued by
    the same ids. Scale 1 is no guidance.
    """

    prompt: Sequence[int]
    scale: float

    def __post_init__(self) -> None:
        _require(math.isfinite(self.scale), "guidance scale", "be a finite number", self.scale)
        _require(len(self.prompt) > 0, "guidance prompt", "hold at least one id", 0)


@dataclass(frozen=True, kw_only=True)
class FrameLimits:
    """How many frames the document grammar allows a reply to have; 0 for text."""

    most: int = 0
    least: int = 0

    def __post_init__(self) -> None:
        _require(0 <= self.least <= self.most, "frames", f"lie in 0..{self.most}", self.least)


@dataclass(frozen=True, kw_only=True)
class Request:
    """A prompt to continue."""

    prompt: Sequence[int] | NDArray[np.integer]
    max_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    stop: StopConditions = field(default_factory=StopConditions)
    guidance: Guidance | None = None
    frames: FrameLimits | None = None  # None: without the document grammar
    allowed: AllowedIds | None = None  # also limits the ids; costs a round trip to the host for every id
    logprobs: int | None = None  # also report log-probabilities, with this many alternatives

    def __post_init__(self) -> None:
        _require(len(self.prompt) > 0, "prompt", "hold at least one id", 0)
        _require(self.max_tokens >= 1, "max_tokens", "be at least 1", self.max_tokens)
        _require(
            self.logprobs is None or 0 <= self.logprobs <= MOST_ALTERNATIVES,
            "logprobs",
            f"lie in 0..{MOST_ALTERNATIVES}",
            self.logprobs,
        )

    @property
    def prompts(self) -> list[Sequence[int] | NDArray[np.integer]]:
        """The prompt, and the other one of guidance: both are continued by the new ids."""
        return [self.prompt, *([self.guidance.prompt] if self.guidance else [])]


@dataclass(frozen=True, kw_only=True)
class TokenLogprob:
    """The log-probability of an id among those that the grammar allows, before penalty, temperature and filters."""

    id: int
    logprob: float
    alternatives: tuple[tuple[int, float], ...] = ()  # the likeliest ids, best first


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What one step of the engine added to a reply."""

    ticket: int
    ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] = ()
    finished: FinishReason | None = None
    stopped_by: int | str | None = None  # the id or text that ended the reply


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A whole reply."""

    ids: tuple[int, ...]
    finished: FinishReason
    stopped_by: int | str | None
    logprobs: tuple[TokenLogprob, ...]


def _require(holds: bool, name: str, rule: str, value: object) -> None:
    if not holds:
        raise ConfigError(f"{name} must {rule}, got {value}")
