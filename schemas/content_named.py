"""Writes a file of a dataset, whose name depends on its content (`schemas.dataset_files`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schemas.dataset_files import StoredFile, content_name
from schemas.fingerprint import sha256_file
from schemas.storage.location import Location, located


@dataclass
class Draft:
    """A file that is being written."""

    path: Path  # where to write it
    sha256: str | None = None  # of what was written, if the writer knows it
    stored: StoredFile | None = None  # the file in the directory, afterwards; None if nothing was written


@contextmanager
def content_named(directory: Location | Path, name: str) -> Iterator[Draft]:
    """Yield a draft; on success, move what was written to `path` into `directory`, under the name for its content.

    `name` is the name without the hash. Without a file at `path` nothing is moved. On an error nothing remains. Raises
    StorageError if the disk is full or the directory is not writable.
    """
    folder = located(directory)
    with folder.scratch(name) as path:
        draft = Draft(path)
        yield draft
        if path.exists():
            sha256, size = draft.sha256 or sha256_file(path), path.stat().st_size
            draft.stored = StoredFile(name=content_name(name, sha256), filesize=size, sha256=sha256)
            (folder / draft.stored.name).put(path)
