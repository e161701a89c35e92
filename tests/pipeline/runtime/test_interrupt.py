"""A signal requests a stop, which the code of workers sees in any thread."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.runtime import interrupt
from pipeline.runtime.interrupt import is_stopping, item_limit, raise_if_stopping, stop_on_signals
from schemas.deadline import checkpoint
from schemas.errors import Interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_requests_a_stop_in_all_threads(number: int) -> None:
    with stop_on_signals(), ThreadPoolExecutor(1) as threads:
        raise_if_stopping()
        os.kill(os.getpid(), number)
        assert threads.submit(is_stopping).result()
        with pytest.raises(Interrupted, match="Run the same command to resume"):
            raise_if_stopping()


def test_the_request_and_the_signal_handlers_end_with_the_job() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_on_signals():
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    assert not is_stopping()
    raise_if_stopping()


def test_a_request_ends_the_work_on_an_item_at_its_next_checkpoint() -> None:
    with stop_on_signals(), item_limit(None):
        checkpoint()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted):
            checkpoint()


def test_an_item_that_takes_long_is_reported_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "_REPORT_S", 0.02)
    reports: list[float] = []
    with item_limit(None, report=reports.append):
        checkpoint()
        assert not reports
        for _ in range(10):
            time.sleep(0.01)
            checkpoint()
    assert 2 <= len(reports) <= 6
    assert reports == sorted(reports)
