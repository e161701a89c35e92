"""The one exception tree.

    LongreelError
    ├── ConfigError           an option that cannot be right (also a ValueError)
    │   └── UsageError        a command line or a configuration file that asks for what cannot be done as it stands
    ├── ManifestError         a manifest row, column or file that is wrong
    ├── InputError            one input is unusable; it has a `reason` and becomes a quarantine row
    ├── DatasetError          a token store or packed dataset is unfinished, cut short or altered
    ├── VocabularyMismatch    two sides were made with different tokenizers
    ├── StorageError          the disk is full or cannot be written
    ├── JobError              a job ended without doing its work (a worker died, counts do not balance)
    └── Interrupted           the user asked to stop; what was made is kept

A message says what was wrong, what was received, and what to do. `InputError` never leaves the record it
belongs to; all the others end the command, which prints the message without a traceback.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path


class LongreelError(Exception):
    """Base of every error that Longreel raises on purpose."""


class ConfigError(LongreelError, ValueError):
    """An option that cannot be right; the message names the field and the value."""


class UsageError(ConfigError):
    """A command line or a configuration file to correct before anything runs; the exit code is 2."""


class ManifestError(LongreelError):
    """A manifest that cannot be read; the message names file, row, column, value and what was expected."""


class Reason(StrEnum):
    """Why an input was set aside. The value is what stands in the quarantine table."""

    MISSING = "missing"  # no file at this address
    EMPTY = "empty"  # zero bytes, or no token came out of it
    UNREADABLE = "unreadable"  # no decoder makes sense of it
    NO_VIDEO = "no_video"  # a readable container without a picture stream
    TIMEOUT = "timeout"  # decoding went past its time limit
    MEMORY = "memory"  # decoding went past its memory limit
    CRASHED = "crashed"  # the decoder process died
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    TOO_SMALL = "too_small"  # fewer pixels than asked for
    TOO_LARGE = "too_large"  # more bytes or pixels than the limit
    BLACK = "black"  # nothing to see
    FROZEN = "frozen"  # the picture stands still where a video should move
    STILL = "still"  # slides or a screen: hardly anything changes
    BLURRED = "blurred"
    BLOCKY = "blocky"  # the grid of a heavy compression shows
    INTERLACED = "interlaced"  # combs at the edges of what moves
    BARS = "bars"  # too little of the frame is picture
    TRUNCATED = "truncated"  # less is there than the container promises
    DUPLICATE = "duplicate"  # same content as another item
    NEAR_DUPLICATE = "near_duplicate"  # another item has all of it, in a better copy
    LICENSE = "license"  # unknown, or not on the list of those allowed
    LANGUAGE = "language"  # none that is wanted
    QUALITY = "quality"  # a rule for text (Gopher, FineWeb) says that it is no prose
    CONTAMINATED = "contaminated"  # shares text with an evaluation set
    SCORE = "score"  # an optional score is out of its limits
    NOT_TEXT = "not_text"  # no text in an encoding that can be told
    BAD_TRANSCRIPT = "bad_transcript"  # the sidecar that belongs to it cannot be read
    CHANGED = "changed"  # not the bytes that the survey saw


class InputError(LongreelError):
    """One input cannot be used. Caught at the record's boundary and written as a quarantine row."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class DatasetError(LongreelError):
    """A token store or a packed dataset is unfinished, cut short or altered."""


class VocabularyMismatch(LongreelError):
    """Two sides were made with different tokenizers; the message says which parts differ."""


class StorageError(LongreelError):
    """A file could not be written: no space, no permission, a read-only place."""


class JobError(LongreelError):
    """A job ended without doing its work."""


class Interrupted(LongreelError):
    """The user asked to stop. What was made is kept; the same command goes on from there."""


_STORAGE_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn 'no space left' and its kin, raised while `path` is written, into a StorageError that says so."""
    try:
        yield
    except OSError as e:
        # Arrow has errno in its message only, not in the attribute.
        told = re.search(r"\[errno (\d+)\]", str(e))
        if (int(told[1]) if told else e.errno) in _STORAGE_ERRNOS or "No space left" in str(e):
            raise StorageError(
                f"cannot write {path}: {e.strerror or e}. What was made before is kept: "
                "free some space (or choose another --out) and run the same command again."
            ) from e
        raise
