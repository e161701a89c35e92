"""Scores: numbers that a model gives to frames. Each is a plug-in, and lands among the measures of a video.

A score is a factory, registered as an entry point of the group `longreel.scores`:

    [project.entry-points."longreel.scores"]
    faces = "my_package.faces:make"

`make()` loads the model and returns a function from frames to numbers, by name: one number, or one a frame, of which
the largest is kept under the name and the mean under NAME_mean. `longreel survey --survey.scores faces` then measures
it, and `longreel select --limit faces=0:0.5` sets a limit on it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Container, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError

GROUP = "longreel.scores"


class Rate(Protocol):
    """What a factory gives. The same frames must give the same numbers."""

    def __call__(self, frames: NDArray[np.uint8]) -> Mapping[str, float | NDArray[np.floating]]:
        """Rate frames of one video, RGB uint8 [n, h, w, 3], n >= 1: numbers, or arrays [n], by name."""
        ...


Factory = Callable[[], Rate]


class Score(NamedTuple):
    """One loaded score."""

    name: str
    rate: Rate


def load_scores(names: Sequence[str]) -> list[Score]:
    """Load scores by name; raises ConfigError for one that nothing registers, or that cannot be loaded."""
    return [_load(_find(name)) for name in names]


@functools.cache
def versions_of(names: tuple[str, ...]) -> tuple[tuple[str, str, str], ...]:
    """Return for each score its name, package and version, which its numbers depend on. Raises ConfigError."""
    dists = [(name, _find(name).dist) for name in names]
    return tuple((name, dist.name if dist else "", dist.version if dist else "") for name, dist in dists)


def rate(frames: NDArray[np.uint8], scores: Sequence[Score], *, taken: Container[str] = ()) -> dict[str, float]:
    """Return all numbers that the scores give; raises ConfigError for one that is none, or whose name is taken."""
    found: dict[str, float] = {}
    for score in scores:
        for name, value in score.rate(frames).items():
            numbers = np.asarray(value, np.float64)
            if numbers.shape not in ((), (len(frames),)):
                shape = f"a number or one for each of {len(frames)} frames, got shape {list(numbers.shape)}"
                raise ConfigError(f"score {score.name}: {name} must be {shape}")
            new = {name: float(numbers.max())}
            if numbers.ndim:
                new[f"{name}_mean"] = float(numbers.mean())
            for key, number in new.items():
                if key in taken or key in found:
                    raise ConfigError(f"score {score.name}: another number is called {key} already")
                if not math.isfinite(number):
                    raise ConfigError(f"score {score.name}: {key} must be finite, got {number}")
            found |= new
    return found


def _find(name: str) -> EntryPoint:
    registered = entry_points(group=GROUP)
    if name not in registered.names:
        known = ", ".join(sorted(registered.names)) or "none"
        raise ConfigError(f"scores: nothing registers {name!r}; installed packages register {known}")
    return registered[name]


def _load(entry_point: EntryPoint) -> Score:
    try:
        factory: Factory = entry_point.load()
    except (ImportError, AttributeError) as e:
        raise ConfigError(f"score {entry_point.name}: {entry_point.value} cannot be loaded ({e})") from e
    return Score(entry_point.name, factory())
