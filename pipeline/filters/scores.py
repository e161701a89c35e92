"""Scores: numbers that a model computes from frames. A score is a plug-in; its numbers join the measures of a video.

A score is a factory that a package registers as an entry point of the group `longreel.scores`:

    [project.entry-points."longreel.scores"]
    faces = "my_package.faces:make"

`make()` loads the model and returns a function from frames to numbers by name. A value is one number, or one per frame;
of the latter, NAME is the maximum and NAME_mean the mean. `longreel survey --survey.scores faces` measures the score,
and `longreel select --limit faces=0:0.5` sets a limit on it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.counted import counted
from schemas.errors import ConfigError

GROUP = "longreel.scores"


class Rate(Protocol):
    """The function that a factory returns. It is deterministic."""

    def __call__(self, frames: NDArray[np.uint8]) -> Mapping[str, float | NDArray[np.floating]]:
        """Return numbers, or arrays [n], by name, for frames of one video: RGB uint8 [n, h, w, 3], n >= 1."""
        ...


Factory = Callable[[], Rate]


class Score(NamedTuple):
    """A loaded score."""

    name: str
    rate: Rate


def load_scores(names: Sequence[str]) -> list[Score]:
    """Load scores by name. Raises ConfigError for one that is not registered, or that cannot be loaded."""
    return [_load(_find(name)) for name in names]


@functools.cache
def versions_of(names: tuple[str, ...]) -> tuple[tuple[str, str, str], ...]:
    """Return name, package and version of each score, on which its numbers depend. Raises ConfigError as above."""
    packages = [(name, _find(name).dist) for name in names]
    return tuple((name, dist.name if dist else "", dist.version if dist else "") for name, dist in packages)


def rate(frames: NDArray[np.uint8], scores: Sequence[Score], *, taken: Container[str] = ()) -> dict[str, float]:
    """Return all numbers of the scores for frames [n, h, w, 3].

    Raises ConfigError for a value that is not finite or of another shape, and for a name that is in use or in `taken`.
    """
    found: dict[str, float] = {}
    for score in scores:
        for name, value in _numbers(frames, score):
            if name in taken or name in found:
                raise ConfigError(f"score {score.name}: the name {name} is already in use")
            if not math.isfinite(value):
                raise ConfigError(f"score {score.name}: {name} must be finite, got {value}")
            found[name] = value
    return found


def _numbers(frames: NDArray[np.uint8], score: Score) -> Iterator[tuple[str, float]]:
    """Yield the numbers of one score by name."""
    for name, value in score.rate(frames).items():
        values = np.asarray(value, np.float64)
        if values.shape not in ((), (len(frames),)):
            expected = f"a number, or one per frame for {counted(len(frames), 'frame')}"
            raise ConfigError(f"score {score.name}: {name} must be {expected}, got shape {list(values.shape)}")
        yield name, float(values.max())
        if values.ndim:
            yield f"{name}_mean", float(values.mean())


def _find(name: str) -> EntryPoint:
    registered = entry_points(group=GROUP)
    if name not in registered.names:
        known = ", ".join(sorted(registered.names)) or "none"
        raise ConfigError(f"scores: no installed package registers {name!r}; registered are {known}")
    return registered[name]


def _load(entry_point: EntryPoint) -> Score:
    try:
        factory: Factory = entry_point.load()
    except (ImportError, AttributeError) as e:
        raise ConfigError(f"score {entry_point.name}: {entry_point.value} cannot be loaded ({e})") from e
    return Score(entry_point.name, factory())
