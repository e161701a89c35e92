"""Errors of checkpoint files, reported in the terms of the user: a full disk, a damaged checkpoint."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import STORAGE_ERRNOS, DatasetError, StorageError, storage_errors
from schemas.runs.checksums import Checksums

# Orbax reports a full disk as a ValueError, XLA's profiler as a RuntimeError. TensorStore gives the number of the error
# of the operating system; the others only its text.
_ERRNO = re.compile(r"os_error_code='(\d+)'")
_DISK_FULL = ("No space left on device", "File too large", "Disk quota exceeded", "RESOURCE_EXHAUSTED")
# What they raise for content that they did not expect; checksums have found all damage before.
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, AssertionError)


@contextmanager
def write_errors(path: Path, *, what: str) -> Iterator[None]:
    """Raise StorageError if the storage fails (a full disk) while a `what` ("checkpoint") is written to `path`."""
    try:
        with storage_errors(path):
            yield
    except (ValueError, RuntimeError) as e:
        if (problem := _storage_problem(str(e))) is not None:
            raise StorageError(
                f"cannot write a {what} to {path}: {problem}. Earlier {what}s are kept: free some space and run "
                "the same command again."
            ) from e
        raise


def _storage_problem(message: str) -> str | None:
    """Return what the operating system said about the storage, None if the message is about something else."""
    code = _ERRNO.search(message)
    if code is not None and int(code[1]) in STORAGE_ERRNOS:
        return os.strerror(int(code[1]))
    found = next((text for text in _DISK_FULL if text in message), None)
    return message if found == "RESOURCE_EXHAUSTED" else found


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
