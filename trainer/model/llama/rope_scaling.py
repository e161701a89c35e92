"""The frequencies of rotary embeddings, and how published models scale them to contexts beyond their pretraining.

Every kind is a vector of H/2 frequencies and one factor on cosines and sines, both fixed before the first token:

    linear     all frequencies divided by a factor (Chen et al., arXiv 2306.15595)
    yarn       the low ones divided, the high ones kept, a ramp between; larger cosines (Peng et al., arXiv 2309.00071)
    llama3     as yarn, with the limits given as wavelengths (LLaMA 3.1)
    longrope   each divided by its own factor, from a list (Ding et al., arXiv 2402.13753)

Axes: see `trainer/__init__.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError
from schemas.field_types import require_types

RopeKind = Literal["linear", "yarn", "llama3", "longrope"]


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """How frequencies differ from theta^(-2i/H). A field that its kind does not use has no effect."""

    kind: RopeKind
    factor: float  # ratio of the context to that of the pretraining
    original_positions: int = 0  # context of the pretraining, in tokens; all kinds but linear need it
    attention_factor: float | None = None  # on cosines and sines; None: what the paper of yarn or longrope recommends
    low_frequency_factor: float = 1.0  # llama3: frequencies that turn less often in the pretraining context are divided
    high_frequency_factor: float = 4.0  # llama3: those that turn more often are kept
    beta_fast: float = 32.0  # yarn: the same limits
    beta_slow: float = 1.0
    truncate: bool = True  # yarn: widen the ramp to whole indices
    divisors: tuple[float, ...] = ()  # longrope: one per frequency

    def __post_init__(self) -> None:
        if self.kind not in get_args(RopeKind):
            raise ConfigError(_unknown(self.kind))
        if not 0 < self.factor < math.inf:
            raise ConfigError(f"rope_scaling.factor must be a positive number, got {self.factor}")
        if self.kind != "linear" and self.original_positions < 2:
            raise ConfigError(
                f"rope_scaling.original_positions must be at least 2 for {self.kind}, got {self.original_positions}"
            )
        if self.kind == "llama3" and not 0 < self.low_frequency_factor < self.high_frequency_factor:
            raise ConfigError(
                "rope_scaling.low_frequency_factor must lie between 0 and high_frequency_factor "
                f"{self.high_frequency_factor}, got {self.low_frequency_factor}"
            )
        if self.kind == "yarn" and not 0 < self.beta_slow <= self.beta_fast:
            raise ConfigError(
                f"rope_scaling.beta_slow must lie between 0 and beta_fast {self.beta_fast}, got {self.beta_slow}"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RopeScaling:
        """Read the scaling from plain values; raises TypeError if a field has a value of another type."""
        fields = dict(values)
        if isinstance(divisors := fields.get("divisors"), list):
            fields["divisors"] = tuple(divisors)
        if isinstance(kind := fields.get("kind"), str) and kind not in get_args(RopeKind):
            raise ConfigError(_unknown(kind))
        require_types(cls, fields)
        return cls(**fields)

    def require_head_dim(self, head_dim: int) -> None:
        """Raise ConfigError unless longrope has one positive divisor for each frequency."""
        if self.kind == "longrope" and len(self.divisors) != head_dim // 2:
            raise ConfigError(
                f"rope_scaling.divisors must hold head_dim / 2 = {head_dim // 2} numbers, got {len(self.divisors)}"
            )
        if self.kind == "longrope" and not all(0 < one < math.inf for one in self.divisors):
            raise ConfigError(f"rope_scaling.divisors must be positive, got {min(self.divisors)}")

    @property
    def amplitude(self) -> float:
        """The factor on cosines and sines."""
        if self.kind not in ("yarn", "longrope"):
            return 1.0
        if self.attention_factor is not None:
            return self.attention_factor
        if self.factor <= 1:
            return 1.0
        if self.kind == "yarn":
            return 0.1 * math.log(self.factor) + 1.0
        return math.sqrt(1 + math.log(self.factor) / math.log(self.original_positions))


def frequencies(*, head_dim: int, theta: float, scaling: RopeScaling | None) -> NDArray[np.float64]:
    """Return the angle per position of every pair, [H/2]."""
    plain = theta ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    return plain if scaling is None else _SCALED[scaling.kind](plain, scaling, theta)


def _linear(plain: NDArray[np.float64], scaling: RopeScaling, theta: float) -> NDArray[np.float64]:
    del theta
    return plain / scaling.factor


def _longrope(plain: NDArray[np.float64], scaling: RopeScaling, theta: float) -> NDArray[np.float64]:
    del theta
    return plain / np.asarray(scaling.divisors, np.float64)


def _llama3(plain: NDArray[np.float64], scaling: RopeScaling, theta: float) -> NDArray[np.float64]:
    del theta
    turns = scaling.original_positions * plain / (2 * math.pi)
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    return _blend(plain, scaling.factor, kept=np.clip((turns - low) / (high - low), 0.0, 1.0))


def _yarn(plain: NDArray[np.float64], scaling: RopeScaling, theta: float) -> NDArray[np.float64]:
    size = 2 * len(plain)

    def index(turns: float) -> float:
        """Return the index, not rounded, of the frequency that turns so often in the pretraining context."""
        return size * math.log(scaling.original_positions / (turns * 2 * math.pi)) / (2 * math.log(theta))

    first, last = index(scaling.beta_fast), index(scaling.beta_slow)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, size - 1)
    width = last - first or 0.001  # as in the published code, which avoids a division by zero this way
    return _blend(plain, scaling.factor, kept=1 - np.clip((np.arange(len(plain)) - first) / width, 0.0, 1.0))


def _blend(plain: NDArray[np.float64], factor: float, *, kept: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mix the frequencies and the divided ones; `kept` is the share of the former."""
    return plain * kept + plain / factor * (1 - kept)


_SCALED: dict[RopeKind, Callable[[NDArray[np.float64], RopeScaling, float], NDArray[np.float64]]] = {
    "linear": _linear,
    "yarn": _yarn,
    "llama3": _llama3,
    "longrope": _longrope,
}


def _unknown(kind: str) -> str:
    known = ", ".join(get_args(RopeKind))
    if kind == "dynamic":
        return (
            "rope_scaling of the kind dynamic is not supported: its frequencies depend on the length of each sequence, "
            f"so the keys of a cache or of another document of a packed sequence would be wrong. Use one of {known}, "
            "for example yarn with the same factor"
        )
    return f"rope_scaling.kind must be one of {known}, got {kind!r}"
