"""Weights of datasets in a run, and their spelling on the command line.

    --dataset videos:0.3 books:0.7               three of ten sequences are of videos/
    --mixture 0:0.9,0.1 1000:0.5,0.5             other weights from step 1000 on, in the order of --dataset

Weights are exact fractions: 0.3 is 3/10, so shares can be counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any

from tyro.constructors import PrimitiveConstructorSpec

from schemas.errors import ConfigError
from schemas.storage.location import Location

_WEIGHTED = re.compile(r"(?P<directory>.+):(?P<weight>[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?)", re.DOTALL | re.IGNORECASE)
_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)
_MIXTURE = re.compile(r"(?P<step>\d+):(?P<weights>[^:]+)")
_LARGEST_EXPONENT = 9  # weights beyond 1e±9 are not meant, and exact arithmetic with them would be slow


@dataclass(frozen=True)
class WeightedDataset:
    """A dataset directory and its weight among the datasets of a run."""

    directory: Location
    weight: Fraction

    def __str__(self) -> str:
        return f"{self.directory}:{_spelled(self.weight)}"


@dataclass(frozen=True)
class Mixture:
    """Weights of the datasets of a run, in their order, from a step on; a dataset of weight 0 is not used."""

    step: int
    weights: tuple[Fraction, ...]

    def __str__(self) -> str:
        return f"{self.step}:{','.join(map(_spelled, self.weights))}"


def parse_dataset(text: str) -> Location | WeightedDataset:
    """Parse DIR or DIR:WEIGHT, where the weight is a number after the last colon.

    Raises ConfigError unless it is positive.
    """
    found = _WEIGHTED.fullmatch(text)
    if found is None:
        return Location.parse(text)
    weight = _weight(found["weight"], where=text)
    if weight == 0:
        raise ConfigError(f"the weight of a dataset must be positive, got {text!r}: leave the dataset out")
    return WeightedDataset(Location.parse(found["directory"]), weight)


def parse_mixture(text: str) -> Mixture:
    """Parse STEP:WEIGHT,WEIGHT,…; raises ConfigError if it is spelled otherwise or no weight is positive."""
    found = _MIXTURE.fullmatch(text)
    if found is None:
        raise ConfigError(f"a mixture is a step and one weight for each dataset, such as 1000:0.5,0.5; got {text!r}")
    weights = tuple(_weight(number, where=text) for number in found["weights"].split(","))
    if not any(weights):
        raise ConfigError(f"a mixture needs a weight above 0, got {text!r}")
    return Mixture(int(found["step"]), weights)


def mixtures_of(datasets: Sequence[Location | WeightedDataset], over_time: Sequence[Mixture]) -> tuple[Mixture, ...]:
    """Return the mixtures of a run; none if it has no weights, so that each sequence is used once per epoch.

    Raises ConfigError if the weights do not fit to the datasets or to each other.
    """
    weights = [dataset.weight for dataset in datasets if isinstance(dataset, WeightedDataset)]
    if weights and len(weights) < len(datasets):
        without = next(str(dataset) for dataset in datasets if isinstance(dataset, Location))
        raise ConfigError(f"give a weight to every dataset or to none; {without} has none")
    if weights and over_time:
        raise ConfigError("give weights either with --dataset DIR:WEIGHT or with --mixture, not both")
    mixtures = (Mixture(0, tuple(weights)),) if weights else tuple(over_time)
    for mixture in mixtures:
        if len(mixture.weights) != len(datasets):
            raise ConfigError(f"the mixture {mixture} has {len(mixture.weights)} weights for {len(datasets)} datasets")
    steps = [mixture.step for mixture in mixtures]
    if steps and (steps[0] != 0 or steps != sorted(set(steps))):
        raise ConfigError(f"mixtures must begin at step 0 and have ascending steps, got {', '.join(map(str, steps))}")
    return mixtures


def directory_of(dataset: Location | WeightedDataset) -> Location:
    """Return the directory of a dataset with or without a weight."""
    return dataset.directory if isinstance(dataset, WeightedDataset) else dataset


def _weight(number: str, *, where: str) -> Fraction:
    found = _NUMBER.fullmatch(number.strip())
    if found is None or abs(int((found[2] or "e0")[1:])) > _LARGEST_EXPONENT:
        raise ConfigError(f"a weight must be a number of at least 0, got {number!r} in {where!r}")
    return Fraction(number.strip())


def _spelled(weight: Fraction) -> str:
    """Return a short decimal spelling if it is exact, else the fraction."""
    decimal = f"{float(weight):g}"
    return decimal if Fraction(decimal) == weight else str(weight)


def _is_dataset(value: Any) -> bool:
    return isinstance(value, (Location, WeightedDataset))


# Types of command-line options.
DatasetOption = Annotated[
    Location | WeightedDataset,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH|URL[:WEIGHT]",
        instance_from_str=lambda arguments: parse_dataset(arguments[0]),
        is_instance=_is_dataset,
        str_from_instance=lambda value: [str(value)],
    ),
]
MixtureOption = Annotated[
    Mixture,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="STEP:WEIGHT,WEIGHT,…",
        instance_from_str=lambda arguments: parse_mixture(arguments[0]),
        is_instance=lambda value: isinstance(value, Mixture),
        str_from_instance=lambda value: [str(value)],
    ),
]
