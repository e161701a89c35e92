"""Steps whose gradient is not finite, or far above the usual norm: their updates are skipped, up to a budget."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from schemas.errors import ConfigError

OnDivergence = Literal["skip", "stop"]

_WINDOW = 1000  # steps in which `skip_budget` updates may be skipped
_RECENT = 100  # gradient norms whose median is the usual norm
_FEWEST = 20  # fewer norms than this do not tell what is usual


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """What to do with a step whose loss or gradient is not finite, or whose gradient is far above the usual norm."""

    on_divergence: OnDivergence = "skip"
    """skip: leave the parameters as they are and go on with the next batch. stop: end the run."""
    skip_budget: int = 10
    """Maximum number of updates skipped within 1,000 steps; one more ends the run."""
    spike_factor: float | None = None
    """Treat a gradient whose norm is more than this many times the median of the last 100 as diverged. Default: only
    gradients that are not finite."""

    def __post_init__(self) -> None:
        if self.on_divergence not in get_args(OnDivergence):
            raise ConfigError(f"on_divergence must be skip or stop, got {self.on_divergence!r}")
        if self.skip_budget < 0:
            raise ConfigError(f"skip_budget must not be negative, got {self.skip_budget}")
        if self.spike_factor is not None and not 1 < self.spike_factor < math.inf:
            raise ConfigError(f"spike_factor must be greater than 1, got {self.spike_factor}")


class Updates:
    """The recent updates of a run, from the rows of its metrics; a resumed run decides as if it had not stopped."""

    def __init__(self, config: Divergence, rows: Iterable[Mapping[str, Any]]) -> None:
        self._config = config
        self._norms: deque[float] = deque(maxlen=_RECENT)
        self._skipped: deque[int] = deque()
        for row in rows:
            self.record(row["step"], applied=bool(row["applied"]), norm=row["gradient_norm"])

    def limit(self) -> float:
        """Return the largest norm of the next gradient at which its update is made."""
        if self._config.spike_factor is None or len(self._norms) < _FEWEST:
            return math.inf
        return self._config.spike_factor * statistics.median(self._norms)

    def record(self, step: int, *, applied: bool, norm: float | None) -> None:
        """Add the outcome of a step; `norm` of its gradient may be None if it is not finite."""
        if applied and norm is not None:
            self._norms.append(norm)
        elif not applied:
            self._skipped.append(step)
        while self._skipped and self._skipped[0] <= step - _WINDOW:
            self._skipped.popleft()

    @property
    def must_stop(self) -> bool:
        """Whether the run ends because of the last step."""
        allowed = self._config.skip_budget if self._config.on_divergence == "skip" else 0
        return len(self._skipped) > allowed

    @property
    def skipped(self) -> int:
        """Number of updates skipped within the last 1,000 steps."""
        return len(self._skipped)
