"""Errors of checkpoint files, reported in the terms of the user: a full disk, a damaged checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import DatasetError, StorageError, storage_errors
from schemas.runs.checksums import Checksums

# Orbax reports a full disk as a ValueError, XLA's profiler as a RuntimeError; both quote errno's text.
_DISK_FULL = ("No space left", "File too large", "Disk quota", "RESOURCE_EXHAUSTED")
# What they raise for content that they did not expect; checksums have found all damage before.
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, AssertionError)


@contextmanager
def write_errors(path: Path, *, what: str) -> Iterator[None]:
    """Raise StorageError if the disk is full while a `what` ("checkpoint") is written to `path`."""
    try:
        with storage_errors(path):
            yield
    except (ValueError, RuntimeError) as e:
        if any(text in str(e) for text in _DISK_FULL):
            raise StorageError(
                f"cannot write a {what} to {path}: {e}. Earlier {what}s are kept: free some space and run "
                "the same command again."
            ) from e
        raise


@contextmanager
def read_errors(path: Path, *, what: str, remedy: Callable[[], str]) -> Iterator[None]:
    """Raise DatasetError, with a remedy, if the `what` ("checkpoint") at `path` cannot be read."""
    try:
        yield
    except DatasetError as e:
        raise DatasetError(f"the {what} {path} is damaged: {e}. {remedy()}") from e
    except _UNREADABLE as e:
        problem = str(e) or type(e).__name__
        raise DatasetError(f"the {what} {path} cannot be read ({problem}). {remedy()}") from e


def older_intact(folder: Path, step: int, steps: Sequence[int], items: Sequence[str], *, what: str) -> str:
    """Return the remedy for a damaged `what` ("checkpoint") of `step`: the newest one before it that is intact.

    `steps` are those of all in `folder`; the files of the older ones are read until an intact one is found.
    """
    for older in sorted((other for other in steps if other < step), reverse=True):
        try:
            if Checksums(folder / str(older), items).first_problem() is None:
                return f"The newest intact {what} before it is {folder / str(older)}: to continue from it, remove " + (
                    ", ".join(str(folder / str(other)) for other in sorted(steps) if other > older)
                )
        except DatasetError:
            continue
    return f"No older {what} is intact: restore the files from a copy, or start again with another --out"
