"""Where the checkpoints of a run are, for modules that do not load them: loading needs Orbax, which starts JAX."""

from __future__ import annotations

from pathlib import Path

from schemas.runs.checksums import CHECKSUMS
from schemas.storage.location import Location, located

CHECKPOINTS = "checkpoints"  # folder of a run; it has a folder for each step
PARAMS, OPTIMIZER, EMA, POSITION, DESCRIPTION = "params", "optimizer", "ema", "position", "description"
SET_ASIDE = "set-aside.json"  # in a copied checkpoint after the one that its run went back to
ITEMS = (PARAMS, OPTIMIZER, EMA, POSITION, DESCRIPTION)  # folders of a checkpoint


def checkpoint_steps(run: Location | Path) -> list[int]:
    """Return the steps of the checkpoints in the folder of a run, half copies included, in ascending order."""
    return sorted(int(place.name) for place in (located(run) / CHECKPOINTS).list() if place.name.isdecimal())


def finished_steps(run: Location | Path) -> list[int]:
    """Return the steps of the checkpoints that are complete and not set aside, in ascending order."""
    places = {step: located(run) / CHECKPOINTS / str(step) for step in checkpoint_steps(run)}
    return [
        step
        for step, place in places.items()
        if (place / CHECKSUMS).stat() is not None and (place / SET_ASIDE).stat() is None
    ]
