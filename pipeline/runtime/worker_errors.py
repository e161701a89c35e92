"""Errors of workers: typed records, by which the driver learns what failed whatever the Beam runner makes of it.

A runner adds to the text of an exception, or passes on the worker's traceback as text only. A worker therefore records
the error that ends its work: in a list for a driver in the same process, where a full disk does not matter, and in a
JSON file among the records of the run (pipeline.runtime.job_log) for a driver in another one.
"""

from __future__ import annotations

import contextlib
import json
import time
import traceback
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import schemas.errors
from pipeline.runtime.job_log import JobLog
from schemas.errors import InputError, InternalError, Interrupted, JobError, LongreelError
from schemas.printable import printable

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


@dataclass(frozen=True)
class ErrorLog:
    """Where the workers of one run record errors, and the driver the traceback of an internal error."""

    log: JobLog

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record an exception of the body, and raise it again."""
        try:
            yield
        except Exception as e:
            self._record(WorkerError.of(e))
            raise

    def _record(self, error: WorkerError) -> None:
        _RECORDS.setdefault(self.log.run, []).append(error)
        with contextlib.suppress(LongreelError, OSError):  # the exception itself matters more than its record
            (self.log.errors / f"{uuid.uuid4().hex}.json").write(json.dumps(asdict(error)).encode())

    def records(self) -> list[WorkerError]:
        """Return the errors of the run, in the order of time."""
        found = _RECORDS.get(self.log.run) or [
            WorkerError(**json.loads(place.read())) for place in self.log.errors.list("*.json")
        ]
        return sorted(found, key=lambda error: error.time_s)

    def clear(self) -> None:
        """Delete the records of the run."""
        _RECORDS.pop(self.log.run, None)
        with contextlib.suppress(LongreelError, OSError):
            self.log.errors.delete_folder()

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
            self.log.error_text.write(printable(error.traceback, keep="\n").encode())
        except (LongreelError, OSError):
            return InternalError(f"{message}\nPlease report this error with its traceback:\n{error.traceback}")
        return InternalError(
            f"{message}\nPlease report this error and attach {self.log.error_text}, which has the traceback."
        )
