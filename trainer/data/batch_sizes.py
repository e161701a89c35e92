"""Batch sizes that change with the step: small at first, where gradients agree, and larger later.

--batch-size 8 --batch-ramp 1000:16 2000:32      8 sequences per step, 16 from step 1000 and 32 from step 2000 on
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Self

from tyro.constructors import PrimitiveConstructorSpec

from schemas.errors import ConfigError

_RAMP = re.compile(r"(\d+):(\d+)")


@dataclass(frozen=True)
class BatchSize:
    """The number of sequences per update from the update after `step` updates on."""

    step: int
    size: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse STEP:SIZE; raises ConfigError for anything else."""
        found = _RAMP.fullmatch(text)
        if found is None or not int(found[2]):
            raise ConfigError(f"a batch size of the ramp is STEP:SIZE, such as 1000:16; got {text!r}")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.step}:{self.size}"


@dataclass(frozen=True)
class BatchSizes:
    """The batch size of every step of a run."""

    parts: tuple[BatchSize, ...]  # the first from step 0

    @classmethod
    def of(cls, first: int, ramp: Sequence[BatchSize] = ()) -> Self:
        """Return a run's sizes; raises ConfigError unless the steps of `ramp` ascend from 1."""
        steps = [0, *(part.step for part in ramp)]
        if steps != sorted(set(steps)):
            raise ConfigError(f"the steps of batch_ramp must ascend from 1, got {', '.join(map(str, steps[1:]))}")
        return cls((BatchSize(0, first), *ramp))

    @property
    def sizes(self) -> list[int]:
        """All different sizes, in the order of their first use."""
        return list(dict.fromkeys(part.size for part in self.parts))

    def at(self, step: int) -> int:
        """Return the size of the batch of the update after `step` updates."""
        return next(part.size for part in reversed(self.parts) if part.step <= step)

    def samples(self, steps: int) -> int:
        """Return the number of samples that the first `steps` updates use."""
        ends = [part.step for part in self.parts[1:]] + [steps]
        return sum(
            part.size * (min(end, steps) - part.step)
            for part, end in zip(self.parts, ends, strict=True)
            if part.step < steps
        )

    def steps(self, samples: int) -> int:
        """Return the number of updates that can be made with `samples`."""
        steps = 0
        ends = [part.step for part in self.parts[1:]] + [None]
        for part, end in zip(self.parts, ends, strict=True):
            more = (samples - self.samples(part.step)) // part.size
            steps = part.step + (more if end is None else min(more, end - part.step))
            if end is None or steps < end:
                break
        return steps


BatchSizeOption = Annotated[
    BatchSize,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="STEP:SIZE",
        instance_from_str=lambda arguments: BatchSize.parse(arguments[0]),
        is_instance=lambda value: isinstance(value, BatchSize),
        str_from_instance=lambda value: [str(value)],
    ),
]
