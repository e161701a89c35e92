"""Steps whose gradient is not finite, or far above the usual norm: their updates are skipped, up to a budget.

A run that ends because it diverged notes the steps since its newest checkpoint in a file. When it is started again, it
leaves out their updates, whose batches are the same, so that it does not meet the same end.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from schemas.errors import ConfigError, DatasetError
from schemas.files import read_json, write_json
from schemas.storage.location import located

LEFT_OUT = "left-out-steps.json"
OnDivergence = Literal["skip", "stop"]

_WINDOW = 1000  # steps in which `skip_budget` updates may be skipped
_RECENT = 100  # gradient norms whose median is the usual norm
_NEVER = -1.0  # no norm is so small
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


class LeftOut:
    """The steps whose updates a run leaves out because it diverged there before."""

    def __init__(self, run: Path) -> None:
        self.path = run / LEFT_OUT
        try:
            found = read_json(self.path)["steps"]
            self._ranges = [(int(first), int(last)) for first, last in found]
        except FileNotFoundError:
            self._ranges = []
        except (DatasetError, ValueError, TypeError, KeyError) as e:
            raise DatasetError(f"{self.path} is damaged: delete it, and the run makes the updates that it names") from e

    def __contains__(self, step: object) -> bool:
        return isinstance(step, int) and any(first <= step <= last for first, last in self._ranges)

    def add(self, first: int, last: int) -> None:
        """Note the steps from `first` to `last`."""
        self._ranges.append((first, last))
        write_json(self.path, {"steps": self._ranges})

    def clear(self, *, delete: bool) -> None:
        """Forget all steps; with `delete`, the file, too."""
        self._ranges = []
        if delete:
            located(self.path).delete()


class Updates:
    """The recent updates of a run, from the rows of its metrics; a resumed run decides as if it had not stopped."""

    def __init__(self, config: Divergence, rows: Iterable[Mapping[str, Any]], *, left_out: Container[int] = ()) -> None:
        self._config, self._left_out = config, left_out
        self._norms: deque[float] = deque(maxlen=_RECENT)
        self._skipped: deque[int] = deque()
        for row in rows:
            self.record(row["step"], applied=bool(row["applied"]), norm=row["gradient_norm"])

    def limit(self, step: int) -> float:
        """Return the largest norm of the gradient of the next step, `step`, at which its update is made."""
        if step in self._left_out:
            return _NEVER
        if self._config.spike_factor is None or len(self._norms) < _FEWEST:
            return math.inf
        return self._config.spike_factor * statistics.median(self._norms)

    def record(self, step: int, *, applied: bool, norm: float | None) -> None:
        """Add the outcome of a step; `norm` of its gradient may be None if it is not finite."""
        if applied and norm is not None:
            self._norms.append(norm)
        elif not applied and step not in self._left_out:
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
