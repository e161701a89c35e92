"""Errors of checkpoint files, reported in the terms of the user: a full disk, a damaged checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import DatasetError, StorageError, storage_errors

# Checkpoint libraries report a full disk as a ValueError that quotes errno's text.
_DISK_FULL = ("No space left", "File too large", "Disk quota", "RESOURCE_EXHAUSTED")


@contextmanager
def write_errors(path: Path, *, what: str) -> Iterator[None]:
    """Raise StorageError if the disk is full while a `what` ("checkpoint") is written to `path`."""
    try:
        with storage_errors(path):
            yield
    except ValueError as e:
        if any(text in str(e) for text in _DISK_FULL):
            raise StorageError(
                f"cannot write a {what} to {path}: {e}. Earlier {what}s are kept: free some space and run "
                "the same command again."
            ) from e
        raise


@contextmanager
def read_errors(path: Path, *, what: str) -> Iterator[None]:
    """Raise DatasetError if the `what` ("checkpoint") at `path` is missing, truncated or damaged."""
    try:
        yield
    except (OSError, ValueError, KeyError) as e:
        raise DatasetError(
            f"the {what} {path} cannot be read ({e}). Remove that folder to resume from the {what} before it."
        ) from e
