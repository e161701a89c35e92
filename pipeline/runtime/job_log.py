"""Where one run of a job records what happens: objects that one process writes each, whatever the engine.

OUT/logs/JOB/RUN/ELEMENT.jsonl    the journal of an element, of the worker that processes it (pipeline.runtime.journal)
OUT/logs/JOB/RUN/errors/          errors that ended the work of workers (pipeline.runtime.worker_errors)
OUT/logs/JOB-error.txt            the traceback of the internal error that ended the last run; written by the driver
OUT/logs/JOB-defects.txt          the tracebacks of defects for which items were rejected; written by the driver

Names of runs begin with their time, or, where the clock was set back, one second after the last one's, so that they
sort by age. The latest runs are kept.
"""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from schemas.errors import LongreelError
from schemas.storage.location import Location, located

_RUNS_KEPT = 5
_STAMP, _STAMP_LENGTH = "%Y%m%d-%H%M%S", 15
_MAX_DEFECT_BYTES = 1 << 20
SUFFIX = ".jsonl"


@dataclass(frozen=True)
class JobLog:
    """The records of one run of a job. Beam pickles it for the workers."""

    logs: Location
    job: str
    run: str

    @classmethod
    def start(cls, logs: Location | Path, job: str) -> JobLog:
        """Return the records of a run that begins; those of old runs and the last internal error are deleted."""
        log = cls(located(logs), job, f"{_stamp(located(logs) / job)}-{uuid.uuid4().hex[:8]}")
        with contextlib.suppress(OSError, LongreelError):  # records must not keep a job from running
            for old in (log.logs / job).list()[: 1 - _RUNS_KEPT]:
                old.delete_folder()
            log.error_text.delete()
        return log

    @property
    def folder(self) -> Location:
        """The folder of the journals of this run."""
        return self.logs / self.job / self.run

    @property
    def errors(self) -> Location:
        """The folder of the errors that ended the work of workers."""
        return self.folder / "errors"

    @property
    def error_text(self) -> Location:
        """The file for the traceback of an internal error."""
        return self.logs / f"{self.job}-error.txt"

    @property
    def defects_text(self) -> Location:
        """The file for the tracebacks of defects."""
        return self.logs / f"{self.job}-defects.txt"

    def journal(self, element: str) -> Location:
        """Return the journal of an element."""
        return self.folder / f"{element}{SUFFIX}"

    def add_defects(self, text: str) -> None:
        """Append tracebacks to the file of defects, unless it is large: the same defect can affect every item."""
        with contextlib.suppress(OSError, LongreelError):  # the rows with the reason matter more
            before = self.defects_text.read() if self.defects_text.exists() else b""
            if len(before) < _MAX_DEFECT_BYTES:
                added = text.encode(errors="backslashreplace")[:_MAX_DEFECT_BYTES]
                self.defects_text.write(before + added)


def _stamp(runs: Location) -> str:
    """Return the time for the name of the next run."""
    now = datetime.now(UTC)
    with contextlib.suppress(OSError, LongreelError, ValueError, IndexError, OverflowError):
        last = datetime.strptime(runs.list()[-1].name[:_STAMP_LENGTH], _STAMP).replace(tzinfo=UTC)
        now = max(now, last + timedelta(seconds=1))
    return now.strftime(_STAMP)
