"""Checksums of the files of a checkpoint: `checksums.json` in its folder, by which damage is found before it is loaded.

    {"files": {"params/d/7730…": [53248, "25f5d7aba91b6a84142eb4c9226ae2b3"], …}, "checksum": …}

The file is written when all others are on disk, before the checkpoint gets its final name, so every complete checkpoint
has it. It reads the files once more, from the page cache. Files of the library that are not read back are not listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from schemas.checksums import file_checksum
from schemas.errors import DatasetError
from schemas.files import read_json, write_json

CHECKSUMS = "checksums.json"


def write_checksums(folder: Path, items: Iterable[str]) -> None:
    """Write the sizes and checksums of the files of these subfolders of a checkpoint."""
    paths = sorted(path for item in items for path in (folder / item).rglob("*") if path.is_file())
    files = {path.relative_to(folder).as_posix(): [path.stat().st_size, file_checksum(path)] for path in paths}
    write_json(folder / CHECKSUMS, {"files": files})


class Checksums:
    """The recorded files of the items (subfolders) of a checkpoint."""

    def __init__(self, folder: Path, items: Sequence[str]) -> None:
        """Read `checksums.json`; raises DatasetError if it is missing or damaged."""
        self._folder = folder
        try:
            files = read_json(folder / CHECKSUMS)["files"]
            listed = {str(name): (int(size), str(value)) for name, (size, value) in files.items()}
        except FileNotFoundError as e:
            raise DatasetError(f"{folder / CHECKSUMS} is missing") from e
        except (TypeError, ValueError, KeyError, AttributeError) as e:
            raise DatasetError(f"{folder / CHECKSUMS} is damaged: {type(e).__name__}") from e
        self._files = [(name, *facts) for name, facts in sorted(listed.items()) if name.split("/")[0] in items]

    def __len__(self) -> int:
        return len(self._files)

    def first_problem(self, *, part: int = 0, parts: int = 1) -> int | None:
        """Return the number of the first file that is not as recorded, among one of `parts` shares of the files."""
        return next((i for i in range(part, len(self), parts) if self._problem(i)), None)

    def describe(self, i: int) -> str:
        """Return what is wrong with file `i`."""
        return f"{self._folder / self._files[i][0]} {self._problem(i) or 'was altered'}"

    def problems(self) -> Iterator[str]:
        """Yield a description of each file that is not as recorded."""
        return (self.describe(i) for i in range(len(self)) if self._problem(i))

    def _problem(self, i: int) -> str:
        name, size, expected = self._files[i]
        path = self._folder / name
        try:
            found = path.stat().st_size
            if found != size:
                return f"has {found} bytes, expected {size}"
            return "" if file_checksum(path) == expected else "was altered: its checksum does not match"
        except FileNotFoundError:
            return "is missing"
        except OSError as e:
            return f"cannot be read ({e.strerror})"
