"""Checks the options that name files and folders before the command begins: what is there, and what may be written.

A command would notice most of it later, some of it after hours of work.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

from pipeline.cli.options import Option
from schemas.errors import StorageError, UsageError
from schemas.storage.location import Location
from schemas.storage.option import Output
from schemas.storage.replaceable import is_standard_output, require_folder, require_replaceable, special_file

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")  # a path has one slash less than the URL that it was made from


def check_places(option: Option, value: Any, *, is_dry_run: bool = False) -> None:
    """Raise UsageError if an option names what no command reads or writes, StorageError if an output cannot be written.

    A dry run writes nothing.
    """
    if option.element not in (Path, Location):
        return
    for place in value if isinstance(value, tuple) else (value,):
        if isinstance(place, Path) and (found := _URL.match(str(place))):
            raise UsageError(
                f"{_shown(option)} takes a path of the file system, got an address with {found[1]}://; copy what it "
                "names to or from a local path"
            )
        if place is not None and (isinstance(place, Path) or place.is_local):
            path = place if isinstance(place, Path) else place.local()
            _check(option, path)
            if option.output is not None and not is_dry_run and not is_standard_output(path):
                _require_writable(path, path if option.output is Output.FOLDER else path.parent)


def _check(option: Option, path: Path) -> None:
    if is_standard_output(path) and option.output is Output.STREAM:
        return
    if what := special_file(path):
        raise UsageError(f"{_shown(option)} {path} is {what}; name a file or folder")
    try:
        if option.output is Output.FOLDER:
            require_folder(path)
        elif option.output is not None:
            require_replaceable(path)
            require_folder(path.parent)
    except StorageError as e:
        raise UsageError(f"{_shown(option)}: {e}") from e


def _require_writable(path: Path, folder: Path) -> None:
    folder = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())
    if not os.access(folder, os.W_OK):
        is_read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
        problem = os.strerror(errno.EROFS if is_read_only else errno.EACCES)
        raise StorageError(f"cannot write {path}: {problem}; choose another place")


def _shown(option: Option) -> str:
    return option.flags[0] if option.flags else option.name
