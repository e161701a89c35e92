"""How fast the engine was, and how much memory its cache takes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import NamedTuple

import jax

from schemas.counted import counted


class _Compilation:
    """Counts the seconds of JAX's compilations in this process."""

    def __init__(self) -> None:
        self.seconds = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._add)

    def _add(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event.startswith("/jax/core/compile/"):
            self.seconds += duration_secs


_compilation = _Compilation()


class Moment(NamedTuple):
    """A moment, in seconds of the clock and of compilation."""

    clock: float
    compilation: float

    @classmethod
    def now(cls) -> Moment:
        """Return this moment."""
        return cls(time.perf_counter(), _compilation.seconds)


@dataclass
class Speed:
    """Sums over the life of an engine."""

    prompt_tokens: int = 0  # that were run
    prompt_s: float = 0.0  # without compilation
    reused_tokens: int = 0  # of prompts, whose keys and values were kept
    generated_tokens: int = 0
    generation_s: float = 0.0  # without compilation
    compilation_s: float = 0.0
    cache_bytes: int = 0

    def add_prompt(self, tokens: int, started: Moment) -> None:
        """Count a block of a prompt, which was begun at `started` and is complete."""
        self.prompt_tokens, self.prompt_s = self.prompt_tokens + tokens, self.prompt_s + self._worked(started)

    def add_generated(self, tokens: int, started: Moment) -> None:
        """Count generated ids."""
        self.generated_tokens += tokens
        self.generation_s += self._worked(started)

    def _worked(self, started: Moment) -> float:
        """Return the seconds since `started`, without compilation, which is counted for itself."""
        now = Moment.now()
        compilation = now.compilation - started.compilation
        self.compilation_s += compilation
        return max(now.clock - started.clock - compilation, 0.0)

    def __str__(self) -> str:
        return (
            f"prompt: {_rate(self.prompt_tokens, self.prompt_s)}, {counted(self.reused_tokens, 'token')} reused; "
            f"generated: {_rate(self.generated_tokens, self.generation_s)}; compilation: {self.compilation_s:.1f} s; "
            f"cache: {self.cache_bytes / 1e6:.1f} MB"
        )


def _rate(tokens: int, seconds: float) -> str:
    return counted(tokens, "token") + (f", {tokens / seconds:.1f} tokens/s" if tokens and seconds else "")
