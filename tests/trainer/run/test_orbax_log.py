from __future__ import annotations

import logging

import pytest
from absl import logging as absl_logging

from trainer.run.orbax_log import hide_errors_raised_later


def _record(path: str) -> logging.LogRecord:
    error = ValueError("disk full")
    return logging.LogRecord("absl", logging.ERROR, path, 1, "failed", None, (ValueError, error, None))


def test_errors_that_orbax_raises_later_are_hidden_and_others_are_shown(caplog: pytest.LogCaptureFixture) -> None:
    hide_errors_raised_later()
    hide_errors_raised_later()
    logger = logging.getLogger("absl")
    assert not logger.filter(_record("/lib/orbax/checkpoint/_src/checkpointers/async_checkpointer.py"))
    assert logger.filter(_record("/lib/orbax/checkpoint/_src/path/deleter.py"))
    assert logger.filter(_record("/lib/other/future.py"))
    with caplog.at_level(logging.ERROR, logger="absl"):
        absl_logging.error("something else")
    assert "something else" in caplog.text
