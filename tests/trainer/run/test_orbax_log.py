from __future__ import annotations

import asyncio
import logging
import sys
from types import SimpleNamespace

import pytest
from absl import logging as absl_logging

from trainer.run.orbax_log import hide_errors_raised_later


def _record(*files: str, name: str = "absl") -> logging.LogRecord:
    """Return the record of an error that was raised in the last of these files and caught in the first."""
    program = "raise ValueError('disk full')"
    for file in reversed(files):
        program = f"exec(compile({program!r}, {file!r}, 'exec'))"
    with pytest.raises(ValueError, match="disk full") as caught:
        exec(program)
    trace = next(entry._rawentry for entry in caught.traceback if str(entry.path) == files[0])
    information = (ValueError, caught.value, trace)
    return logging.LogRecord(name, logging.ERROR, "absl/logging.py", 1, "failed", None, information)


def test_errors_that_orbax_raises_later_are_hidden_and_others_are_shown(caplog: pytest.LogCaptureFixture) -> None:
    hide_errors_raised_later()
    hide_errors_raised_later()
    logger = logging.getLogger("absl")
    assert not logger.filter(_record("/lib/orbax/checkpoint/_src/checkpointers/async_checkpointer.py", "/lib/x.py"))
    assert logger.filter(_record("/lib/orbax/checkpoint/_src/path/deleter.py"))
    assert logger.filter(_record("/lib/other/future.py", "/lib/orbax/future.py"))
    with caplog.at_level(logging.ERROR, logger="absl"):
        absl_logging.error("something else")
    assert "something else" in caplog.text


def test_errors_of_orbax_that_nobody_waits_for_are_hidden_and_others_are_shown() -> None:
    hide_errors_raised_later()
    logger = logging.getLogger("asyncio")
    assert not logger.filter(_record("/lib/concurrent/thread.py", "/lib/orbax/async_path.py", name="asyncio"))
    assert logger.filter(_record("/lib/concurrent/thread.py", "/lib/other.py", name="asyncio"))
    assert logger.filter(logging.LogRecord("asyncio", logging.ERROR, "x.py", 1, "slow", None, None))


def test_results_for_an_event_loop_that_has_ended_are_hidden_and_other_exceptions_are_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: shown.append(str(what.exc_value)))
    hide_errors_raised_later()
    loop = asyncio.new_event_loop()
    loop.close()
    for cause in (lambda: loop.call_soon_threadsafe(print), lambda: loop.run_forever(), lambda: len(1)):  # type: ignore[arg-type]
        with pytest.raises((RuntimeError, TypeError)) as caught:
            cause()
        trace = caught.traceback[-1 if caught.type is TypeError else 2]._rawentry
        sys.unraisablehook(SimpleNamespace(exc_type=caught.type, exc_value=caught.value, exc_traceback=trace))  # type: ignore[arg-type]
    assert shown == ["Event loop is closed", "object of type 'int' has no len()"]
