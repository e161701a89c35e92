"""The types of command-line options that take a location, and of those that name what a command writes."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

from tyro.constructors import PrimitiveConstructorSpec

from schemas.storage.location import Location


class Output(Enum):
    """What an option names that a command writes; the options are checked before the command begins."""

    FOLDER = "folder"
    FILE = "file"
    STREAM = "file or standard output"


def _parsed(arguments: Sequence[str]) -> Location:
    return Location.parse(arguments[0])


def _is_location(value: Any) -> bool:
    return isinstance(value, Location)


def _spelled(value: Location) -> list[str]:
    return [str(value)]


_SPEC = PrimitiveConstructorSpec(
    nargs=1,
    metavar="PATH|URL",
    instance_from_str=_parsed,
    is_instance=_is_location,
    str_from_instance=_spelled,
)
Address = Annotated[Location, _SPEC]
AddressOfFolder = Annotated[Location, _SPEC, Output.FOLDER]
AddressOfPage = Annotated[Location, _SPEC, Output.STREAM]
NewFile = Annotated[Path, Output.FILE]
NewFolder = Annotated[Path, Output.FOLDER]
