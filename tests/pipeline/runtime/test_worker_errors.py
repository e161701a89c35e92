"""Records of workers' errors become the errors that the driver raises."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from pipeline.runtime.job_log import JobLog
from pipeline.runtime.worker_errors import ErrorLog, WorkerError
from schemas.errors import (
    InputError,
    InternalError,
    Interrupted,
    JobError,
    LongreelError,
    Reason,
    StorageError,
    UsageError,
)

UNRELATED = RuntimeError("what the runner raises")


class PluginError(StorageError):
    """An error that a plug-in defines."""


def fail(errors: ErrorLog, error: Exception) -> None:
    with pytest.raises(type(error)), errors.recording():
        raise error


def fail_in_process(errors: ErrorLog, message: str) -> None:
    fail(errors, StorageError(message))


@pytest.fixture
def errors(tmp_path: Path) -> ErrorLog:
    return ErrorLog(JobLog.start(tmp_path, "job"))


@pytest.mark.parametrize("message", ["disk full\nFree some space [while running 'Work']", "caf\udce9 \u2603", ""])
def test_an_error_keeps_its_class_and_its_message(errors: ErrorLog, message: str) -> None:
    fail(errors, StorageError(message))
    found = errors.error_of(UNRELATED)
    assert (type(found), str(found)) == (StorageError, message)
    assert not errors.log.error_text.exists()


def test_a_subclass_is_raised_as_the_error_that_it_extends(errors: ErrorLog) -> None:
    fail(errors, PluginError("a plug-in's disk is full"))
    assert type(errors.error_of(UNRELATED)) is StorageError
    assert type(WorkerError.of(UsageError("x")).exception()) is UsageError


def test_a_record_of_another_process_is_read_from_its_file(errors: ErrorLog) -> None:
    process = multiprocessing.get_context("spawn").Process(target=fail_in_process, args=(errors, "no space"))
    process.start()
    process.join()
    assert process.exitcode == 0
    (record,) = errors.records()
    assert (record.error_class, record.message, record.reason) == ("StorageError", "no space", None)
    assert "in fail\n" in record.traceback
    assert type(errors.error_of(UNRELATED)) is StorageError
    errors.clear()
    assert list(errors.log.logs.walk()) == []


def test_the_first_error_is_the_cause_and_an_interruption_is_not(errors: ErrorLog) -> None:
    fail(errors, Interrupted("stopped"))
    assert type(errors.error_of(UNRELATED)) is Interrupted
    fail(errors, StorageError("first"))
    fail(errors, JobError("second"))
    assert str(errors.error_of(UNRELATED)) == "first"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ZeroDivisionError("a defect"), "ZeroDivisionError: a defect"),
        (InputError(Reason.EMPTY, "no bytes"), r"InputError \(empty\): no bytes"),
    ],
)
def test_an_internal_error_names_the_file_with_its_traceback(errors: ErrorLog, error: Exception, message: str) -> None:
    fail(errors, error)
    found = errors.error_of(UNRELATED)
    assert type(found) is InternalError
    assert found.args[0].startswith("internal error in a worker: ")
    with pytest.raises(LongreelError, match=message + r"\nPlease report this error and attach .*job-error.txt"):
        raise found
    assert "in fail" in errors.log.error_text.read().decode()


def test_the_traceback_is_in_the_message_if_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    errors = ErrorLog(JobLog.start(tmp_path / "logs", "job"))
    fail(errors, ZeroDivisionError("a defect"))
    assert "raise error\nZeroDivisionError: a defect" in str(errors.error_of(UNRELATED))


def test_without_a_record_the_failure_of_the_runner_is_reported(errors: ErrorLog) -> None:
    assert "RuntimeError: what the runner raises" in str(errors.error_of(UNRELATED))


def test_runs_do_not_share_records(errors: ErrorLog) -> None:
    fail(errors, StorageError("of this run"))
    assert ErrorLog(JobLog.start(errors.log.logs, "job")).records() == []
    errors.clear()
    assert errors.records() == []


def test_running_out_of_memory_says_what_to_do(errors: ErrorLog) -> None:
    fail(errors, MemoryError())
    found = errors.error_of(UNRELATED)
    assert (type(found), "use fewer --workers" in str(found)) == (JobError, True)
