"""Where the weights of a VQGAN are: shipped with the package, a local file, or an object of a bucket."""

from __future__ import annotations

from pathlib import Path

from schemas.errors import ConfigError
from schemas.storage.location import Location, located

SHIPPED = Path(__file__).parent / "weights"


def is_shipped(name_or_place: str) -> bool:
    """Whether this is the name of a shipped tokenizer, which every installation has."""
    return _shipped(name_or_place).is_file()


def weights_location(name_or_place: str) -> Location:
    """Return the file of the shipped tokenizer with this name, or the location that a path or URL names.

    Raises ConfigError for a URL with an unknown scheme.
    """
    return located(_shipped(name_or_place)) if is_shipped(name_or_place) else Location.parse(name_or_place)


def weights_file(name_or_place: str) -> Path:
    """Return the weights as a local file; raises ConfigError if a bucket has no such object."""
    place = weights_location(name_or_place)
    try:
        return place.local()
    except FileNotFoundError as e:
        raise ConfigError(f"{place}: there is no such object") from e


def _shipped(name: str) -> Path:
    return SHIPPED / f"{name}.safetensors"
