"""Where the checkpoints of a run are, for modules that do not load them: loading needs Orbax, which starts JAX."""

from __future__ import annotations

from pathlib import Path

from schemas.runs.checksums import CHECKSUMS
from schemas.storage.location import Location, located

CHECKPOINTS = "checkpoints"  # folder of a run; it has a folder for each step
PARAMS, OPTIMIZER, EMA, POSITION, DESCRIPTION = "params", "optimizer", "ema", "position", "description"
ITEMS = (PARAMS, OPTIMIZER, EMA, POSITION, DESCRIPTION)  # folders of a checkpoint


def checkpoint_steps(run: Location | Path) -> list[int]:
    """Return the steps of the checkpoints in the folder of a run, half copies included, in ascending order."""
    return sorted(int(place.name) for place in (located(run) / CHECKPOINTS).list() if place.name.isdecimal())


def finished_steps(run: Location | Path) -> list[int]:
    """Return the steps of the checkpoints that are complete, in ascending order."""
    folder = located(run) / CHECKPOINTS
    return [step for step in checkpoint_steps(run) if (folder / str(step) / CHECKSUMS).exists()]
