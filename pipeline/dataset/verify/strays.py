"""Finds what does not belong to a folder of Longreel: other files, folders, links, and what a killed command left."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from schemas.storage.location import Location, located

_OTHER = "that does not belong here; move it away or delete it"


def strays(
    directory: Location | Path,
    files: Collection[str],
    folders: Collection[str] = (),
    *,
    unfinished: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[tuple[str, str]]:
    """Yield (name, problem) of each entry of `directory` that is none of these files or folders.

    `unfinished` has the folders that an interrupted command leaves, and this command, which completes them.
    """
    folder = located(directory)
    if not folder.is_local:
        names = (place.name for place in folder.list())
        yield from ((name, f"an object {_OTHER}") for name in names if name not in {*files, *folders, *unfinished})
        return
    root = folder.local()
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        name = path.name
        if name in unfinished and path.is_dir():
            yield name, f"it was left by {unfinished[name]}; run the same command again"
        elif path.is_symlink() or name not in (folders if path.is_dir() else files):
            yield name, f"{_kind(path)} {_OTHER}"


def _kind(path: Path) -> str:
    if path.is_symlink():
        return "a link"
    if path.is_dir():
        return "a folder"
    if path.name.startswith(".") and path.name.endswith(".tmp"):
        return "a temporary file of a killed command"
    return "a file" if path.is_file() else "not a regular file, and one"
