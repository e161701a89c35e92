"""The type of command-line options that take a location."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from tyro.constructors import PrimitiveConstructorSpec

from schemas.storage.location import Location


def _parsed(arguments: Sequence[str]) -> Location:
    return Location.parse(arguments[0])


def _is_location(value: Any) -> bool:
    return isinstance(value, Location)


def _spelled(value: Location) -> list[str]:
    return [str(value)]


Address = Annotated[
    Location,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH|URL",
        instance_from_str=_parsed,
        is_instance=_is_location,
        str_from_instance=_spelled,
    ),
]
