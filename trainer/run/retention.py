"""Which checkpoints of a run are kept: the newest, those at regular steps, and the best by held-out loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol


class Checkpoint(Protocol):
    """What Orbax tells of a checkpoint."""

    @property
    def step(self) -> int:
        """The number of updates before it."""
        ...

    @property
    def time(self) -> datetime:
        """When it was written."""
        ...


@dataclass(frozen=True, kw_only=True)
class Retention:
    """A preservation policy of Orbax, which deletes the checkpoints that it does not keep."""

    newest: int = 3
    """Number of newest checkpoints to keep."""
    every: int | None = None
    """Keep also those whose step is a multiple of this."""
    hours: float | None = None
    """Keep also one for every so many hours."""
    best: int = 0
    """Keep also this many with the lowest loss."""
    loss: Callable[[int], float | None] = lambda step: None
    """Returns the held-out loss at a step, or None if it was not measured."""

    def should_preserve(self, checkpoints: Sequence[Checkpoint], *, context: object) -> list[bool]:
        """Return whether to keep each of `checkpoints`, which are sorted by step."""
        steps = [checkpoint.step for checkpoint in checkpoints]
        losses = {step: loss for step in steps if (loss := self.loss(step)) is not None}
        best = sorted(losses, key=lambda step: (losses[step], step))[: self.best]
        regular = [step for step in steps if self.every and step % self.every == 0]
        kept = {*steps[-self.newest :], *regular, *best, *self._apart(checkpoints)}
        return [step in kept for step in steps]

    def _apart(self, checkpoints: Sequence[Checkpoint]) -> list[int]:
        """Return the steps of checkpoints that are at least `hours` later than the one before, from the first on."""
        chosen: list[Checkpoint] = []
        for checkpoint in checkpoints if self.hours else ():
            if not chosen or checkpoint.time - chosen[-1].time >= timedelta(hours=self.hours or 0):
                chosen.append(checkpoint)
        return [checkpoint.step for checkpoint in chosen]
