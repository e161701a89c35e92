"""Errors of workers: typed records, by which the driver learns what failed whatever the Beam runner makes of it.

A runner adds to the text of an exception, or passes on the worker's traceback as text only. A worker therefore records
the error that ends its work: in a list for a driver in the same process, where a full disk does not matter, and in a
JSON file next to the job's error log for a driver in another one.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import traceback
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import schemas.errors
from schemas.errors import InputError, InternalError, Interrupted, JobError, LongreelError, Reason
from schemas.files import write_text
from schemas.printable import printable

_MAX_DEFECT_BYTES = 1 << 20
_OUT_OF_MEMORY = "a worker ran out of memory; use fewer --workers, or reject larger items (max-bytes)"
_RECORDS: dict[str, list[WorkerError]] = {}  # by run, of workers that are threads of the driver's process


@dataclass(frozen=True, kw_only=True)
class WorkerError:
    """The error that ended a worker's work."""

    time_s: float  # since the epoch
    error_class: str | None  # in schemas.errors; None: an internal error
    type_name: str
    message: str
    reason: str | None  # of an InputError that was not caught, which is an internal error
    traceback: str

    @classmethod
    def of(cls, error: Exception) -> WorkerError:
        """Describe an exception. A plug-in's subclass of one of our errors is recorded as the error it extends."""
        if isinstance(error, MemoryError):
            error = JobError(_OUT_OF_MEMORY).with_traceback(error.__traceback__)
        classes = [c.__name__ for c in type(error).__mro__ if c.__module__ == schemas.errors.__name__]
        return cls(
            time_s=time.time(),
            error_class=classes[0] if classes and not isinstance(error, InputError) else None,
            type_name=type(error).__name__,
            message=str(error),
            reason=error.reason.value if isinstance(error, InputError) else None,
            traceback="".join(traceback.format_exception(error)),
        )

    def exception(self) -> LongreelError | None:
        """Return the recorded error as an exception, None if it is an internal error."""
        found = getattr(schemas.errors, self.error_class or "", None)
        return found(self.message) if isinstance(found, type) and issubclass(found, LongreelError) else None


def log_defect(path: Path, error: InputError) -> None:
    """Append the traceback of an InputError that is a defect (FAILED) to a file; other errors need none."""
    if error.reason is not Reason.FAILED:
        return
    text = printable("".join(traceback.format_exception(error)), keep="\n")
    with contextlib.suppress(OSError):  # the row with the reason matters more
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            if file.tell() < _MAX_DEFECT_BYTES:  # the same defect can affect every item
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}\n{text}\n")


@dataclass(frozen=True)
class ErrorLog:
    """Where the workers of one run record errors, and `path`, the text file for the traceback of an internal error."""

    path: Path
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    @property
    def _folder(self) -> Path:
        return self.path.with_name(f".{self.path.stem}.{self.run}")

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record an exception of the body, and raise it again."""
        try:
            yield
        except Exception as e:
            self._record(WorkerError.of(e))
            raise

    def _record(self, error: WorkerError) -> None:
        _RECORDS.setdefault(self.run, []).append(error)
        with contextlib.suppress(LongreelError, OSError):  # the exception itself matters more than its record
            write_text(self._folder / f"{uuid.uuid4().hex}.json", json.dumps(asdict(error)))

    def records(self) -> list[WorkerError]:
        """Return the errors of the run, in the order of time."""
        found = _RECORDS.get(self.run) or [
            WorkerError(**json.loads(path.read_text(encoding="utf-8"))) for path in self._folder.glob("*.json")
        ]
        return sorted(found, key=lambda error: error.time_s)

    def clear(self) -> None:
        """Delete the records of the run."""
        _RECORDS.pop(self.run, None)
        shutil.rmtree(self._folder, ignore_errors=True)

    def error_of(self, failure: Exception) -> LongreelError:
        """Return the error to raise for a run that ended with `failure`: the first that a worker recorded.

        An exception that is not one of ours becomes an InternalError that names the log file with its traceback.
        """
        records = self.records()
        first = next((error for error in records if error.error_class != Interrupted.__name__), None)
        error = first or (records[0] if records else WorkerError.of(failure))
        return error.exception() or self._internal_error(error)

    def _internal_error(self, error: WorkerError) -> InternalError:
        reason = f" ({error.reason})" if error.reason else ""
        message = f"internal error in a worker: {error.type_name}{reason}: {error.message}"
        try:
            write_text(self.path, printable(error.traceback, keep="\n"))
        except (LongreelError, OSError):
            return InternalError(f"{message}\nPlease report this error with its traceback:\n{error.traceback}")
        return InternalError(f"{message}\nPlease report this error and attach {self.path}, which has the traceback.")
