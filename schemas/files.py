"""Atomic writes: a reader finds either the complete file or the previous one. Reads of small files with checks."""

from __future__ import annotations

import json
import threading
import tomllib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from schemas.checksums import append_checksum, check_appended, checksum
from schemas.errors import DatasetError
from schemas.storage.location import Location, located
from schemas.storage.regular import open_regular

Place = TypeVar("Place", Location, Path)
_CHECKSUM = "checksum"
# Held while NumPy parses a header with `ast`. CPython 3.11 counts its recursion for all threads together, and raises
# SystemError where two parse at a time (https://github.com/python/cpython/issues/106905).
PARSING_A_HEADER = threading.Lock()
_MAX_TOML_BYTES = 1 << 20


def atomic(path: Location | Path) -> AbstractContextManager[Path]:
    """Return a context manager with the path of a temporary file that replaces `path`: see `Location.writing`."""
    return located(path).writing()


def write_text(path: Location | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    located(path).write(text.encode())


def write_json(path: Location | Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object with a checksum, atomically."""
    write_text(path, json_with_checksum(values))


def json_with_checksum(values: Mapping[str, Any]) -> str:
    """Return `values` as a JSON object with the additional field `checksum`, the hash of the other fields."""
    return json.dumps({**values, _CHECKSUM: checksum(json.dumps(values).encode())}, indent=1) + "\n"


def read_json(path: Location | Path) -> dict[str, Any]:
    """Return the values that `write_json` wrote.

    Raises FileNotFoundError if the file is missing, DatasetError if it is damaged or cannot be read.
    """
    try:
        return parse_json(located(path).read())
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as e:
        raise DatasetError(f"{path} is damaged: {e}") from e


def parse_json(data: bytes) -> dict[str, Any]:
    """Return the values of the output of `json_with_checksum`; raises ValueError if it is anything else."""
    try:
        values: dict[str, Any] = json.loads(data)
        del values[_CHECKSUM]
        same = json_with_checksum(values).encode() == data
    except (TypeError, KeyError, RecursionError) as e:
        raise ValueError(f"it is not a JSON object with a checksum ({type(e).__name__})") from e
    if not same:
        raise ValueError("its checksum does not match")
    return values


def write_array(path: Location | Path, values: NDArray[Any]) -> None:
    """Write an array as .npy, followed by a checksum, atomically; the file can be memory-mapped."""
    with atomic(path) as temporary:
        with temporary.open("wb") as file:
            np.save(file, values, allow_pickle=False)
        append_checksum(temporary)


def read_array(path: Location | Path) -> NDArray[Any]:
    """Map an array that `write_array` wrote into memory, read-only; raises DatasetError if the file is damaged."""
    check_appended(path)
    try:
        with PARSING_A_HEADER:
            values: NDArray[Any] = np.load(located(path).local(), mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as e:
        raise DatasetError(f"{path} is not an array ({e}); run the same command again") from e
    return values


def inside(folder: Place, name: str) -> Place:
    """Join a folder and a file name read from data; raises DatasetError if the path is outside of `folder`."""
    if _leads_out(located(folder), name):
        raise DatasetError(f"{folder}: the file name {name!r} points outside the folder")
    return folder / name


def _leads_out(folder: Location, name: str) -> bool:
    if not folder.is_local:
        return folder.inside(name) is None
    root = folder.local()
    return not (root / name).resolve().is_relative_to(root.resolve())


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file that a user wrote.

    Raises OSError if it is no regular file or cannot be read; ValueError if it is too large or not valid TOML.
    """
    with open_regular(path) as file:
        data = file.read(_MAX_TOML_BYTES + 1)
    if len(data) > _MAX_TOML_BYTES:
        raise ValueError(f"it is longer than the limit of {_MAX_TOML_BYTES:,} bytes")
    try:
        return tomllib.loads(data.decode())
    except RecursionError as e:
        raise ValueError("its values are nested too deeply") from e
