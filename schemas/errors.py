"""The exceptions that Longreel raises.

    LongreelError
    ├── ConfigError           an invalid option (also a ValueError)
    │   └── UsageError        an invalid command line or configuration file
    ├── ManifestError         an invalid manifest file or column; a row that is invalid is an InputError
    ├── AbsenceError          too many items of earlier runs are absent
    ├── InputError            an unusable input; it has a `reason` and becomes a row of the quarantine table
    ├── DatasetError          an unfinished, truncated or modified token store or packed dataset
    │   └── DamagedSequence   a packed sequence whose bytes are not those that were written
    ├── VocabularyMismatch    two artifacts of different tokenizers are used together
    ├── StorageError          a file cannot be written, or a store (S3, GCS) cannot be reached
    │   ├── Conflict          a conditional write was refused, as another process wrote first
    │   ├── BucketError       a bucket does not exist, denies access or has not kept what was written
    │   │   └── Unreachable   it does not answer, or answers with errors that may pass, after all attempts
    │   └── LeaseHeld         another process works on the same workspace or dataset
    ├── JobError              a job failed (for example, a decoder process or a Beam runner)
    │   └── InternalError     a defect of Longreel, which the user is asked to report
    ├── TemplateWritten       no failure: the template of a job was written, as the user asked, instead of running it
    └── Interrupted           the user stopped a command; finished work is kept

A message states what happened, the value received, and what to do next. `InputError` is caught where the item is
processed; the other errors end the command, which prints the message without a traceback.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum


class LongreelError(Exception):
    """Base class of all errors that Longreel raises."""


class ConfigError(LongreelError, ValueError):
    """An option has an invalid value; the message names the field and the value."""


class UsageError(ConfigError):
    """A command line or configuration file is invalid, and nothing was run; the exit code is 2."""


class ManifestError(LongreelError):
    """A manifest cannot be read, or lacks a column; the message names the file and what was expected."""


class AbsenceError(LongreelError):
    """So many items of earlier runs are absent that a mistake is likely; nothing was changed."""


class Reason(StrEnum):
    """Why an input was rejected. The quarantine table stores the value."""

    MISSING = "missing"  # the file does not exist (HTTP 404 or 410)
    UNREACHABLE = "unreachable"  # it may exist, but cannot be read now: permission denied, network or server error
    NOT_ALLOWED = (
        "not_allowed"  # a link leaves the given folders, or an address has a scheme or host that is not allowed
    )
    BAD_NAME = "bad_name"  # the file name is not valid UTF-8
    EMPTY = "empty"  # zero bytes, or zero tokens
    UNREADABLE = "unreadable"  # it cannot be decoded
    NO_VIDEO = "no_video"  # the container has no video stream
    TIMEOUT = "timeout"  # decoding exceeded its time limit
    MEMORY = "memory"  # decoding exceeded its memory limit
    CRASHED = "crashed"  # the decoder process died
    TOO_SHORT = "too_short"  # less than the minimum duration or number of words
    TOO_LONG = "too_long"  # more than the maximum duration or number of words
    TOO_SMALL = "too_small"  # fewer pixels than the minimum
    TOO_LARGE = "too_large"  # more bytes or pixels than the maximum
    BLACK = "black"  # black frames
    FROZEN = "frozen"  # a video whose frames do not change
    STILL = "still"  # slides or a screen recording: frames hardly change
    BLURRED = "blurred"  # no sampled frame is sharp
    BLOCKY = "blocky"  # visible blocks of strong compression
    INTERLACED = "interlaced"  # combing artifacts at moving edges
    BARS = "bars"  # black bars cover too much of the frame
    TRUNCATED = "truncated"  # shorter than the container declares
    DUPLICATE = "duplicate"  # same content as another item
    NEAR_DUPLICATE = "near_duplicate"  # contained in another item of better quality
    LICENSE = "license"  # unknown or not allowed
    LANGUAGE = "language"  # not one of the selected languages
    QUALITY = "quality"  # fails a text quality rule (Gopher, FineWeb)
    CONTAMINATED = "contaminated"  # shares text with an evaluation set
    SCORE = "score"  # an optional score is outside its limits
    TAKEN_DOWN = "taken_down"  # by `longreel takedown`; blocked
    NOT_TEXT = "not_text"  # not text in a known encoding
    BAD_CAPTION = "bad_caption"  # its caption file cannot be read
    BAD_TRANSCRIPT = "bad_transcript"  # its transcript file cannot be read
    INVALID_ROW = "invalid_row"  # its row of a manifest or table of texts is invalid
    CHANGED = "changed"  # the file has changed since the survey
    FAILED = "failed"  # a defect of Longreel; the job's failure log has the traceback


TEMPORARY = (Reason.MISSING, Reason.UNREACHABLE, Reason.CHANGED)
"""Reasons that can disappear without a change of options; such items are tried again by every run."""


class InputError(LongreelError):
    """An input cannot be used. Caught where the item is processed and written to the quarantine table."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    @property
    def detail(self) -> str:
        """The message for a table: one line of at most 1,000 characters that can be encoded as UTF-8."""
        return " ".join(str(self).split())[:1000].encode(errors="backslashreplace").decode()


class DatasetError(LongreelError):
    """A token store or packed dataset is unfinished, truncated or modified."""


class DamagedSequence(DatasetError):
    """A packed sequence cannot be read, or its bytes are not those that were written; training can skip it."""


class VocabularyMismatch(LongreelError):
    """Two artifacts were made with different tokenizers; the message names the fields that differ."""


class StorageError(LongreelError):
    """A file cannot be written (disk full or read-only, permission denied), or a store cannot be reached."""


class Conflict(StorageError):
    """An object exists already, or has another version than the one that was to be replaced; nothing was written."""


class BucketError(StorageError):
    """A bucket cannot be used: it does not exist, denies access, or has not kept what was written."""


class Unreachable(BucketError):
    """A store does not answer, or answers with errors that may pass, after all attempts."""


class LeaseHeld(StorageError):
    """Another process holds the lease of a workspace or dataset, or took it over when this one's had expired."""


class JobError(LongreelError):
    """A job failed."""


class InternalError(JobError):
    """A defect of Longreel; the message asks the user to report it, and the exit code is 3."""


class TemplateWritten(LongreelError):
    """The template of a job was written instead of running the job; the command ends, with success."""


class Interrupted(LongreelError):
    """The user stopped a command. Finished work is kept; the same command resumes it."""


_IN_THE_WAY = {errno.EEXIST, errno.EISDIR, errno.ENOTDIR}
_NOT_WRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM}
STORAGE_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, *_NOT_WRITABLE}


@contextmanager
def storage_errors(path: object) -> Iterator[None]:
    """Raise StorageError for errors of the storage while writing `path`.

    These are a full disk, a read-only one, permission denied, and a folder in place of a file or the other way round.
    """
    try:
        yield
    except LongreelError:
        raise
    except Exception as e:
        if _storage_errno(e) in STORAGE_ERRNOS or (isinstance(e, OSError) and "No space left" in str(e)):
            is_full = _storage_errno(e) not in _NOT_WRITABLE
            raise StorageError(
                f"cannot write {path}: {getattr(e, 'strerror', None) or e}. Finished work is kept: "
                f"{'free some space' if is_full else 'make it writable'} (or choose another --out) and run the same "
                "command again."
            ) from e
        if isinstance(e, OSError) and e.errno in _IN_THE_WAY:
            raise StorageError(
                f"cannot write {path}: {e.strerror}: {e.filename}. Move it away (or choose another --out) and run the "
                "same command again."
            ) from e
        raise


def _storage_errno(error: Exception) -> int | None:
    """Return the errno of an exception; Arrow and libraries in Rust give it in the message, not as an attribute."""
    found = re.search(r"\[errno (\d+)\]|\(os error (\d+)\)", str(error))
    return int(found[1] or found[2]) if found else getattr(error, "errno", None)
