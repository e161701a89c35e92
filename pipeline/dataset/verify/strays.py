"""Finds what does not belong to a folder of Longreel: other files, folders, links, and what a killed command left."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType


def strays(
    directory: Path,
    files: Collection[str],
    folders: Collection[str] = (),
    *,
    unfinished: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[tuple[str, str]]:
    """Yield (name, problem) of each entry of `directory` that is none of these files or folders.

    `unfinished` has the folders that an interrupted command leaves, and this command, which completes them.
    """
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        name = path.name
        if name in unfinished and path.is_dir():
            yield name, f"it was left by {unfinished[name]}; run the same command again"
        elif path.is_symlink() or name not in (folders if path.is_dir() else files):
            yield name, f"{_kind(path)} that does not belong here; move it away or delete it"


def _kind(path: Path) -> str:
    if path.is_symlink():
        return "a link"
    if path.is_dir():
        return "a folder"
    if path.name.startswith(".") and path.name.endswith(".tmp"):
        return "a temporary file of a killed command"
    return "a file" if path.is_file() else "not a regular file, and one"
