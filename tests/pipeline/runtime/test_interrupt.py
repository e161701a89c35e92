"""A signal requests a stop, which the code of workers sees in any thread."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.runtime.interrupt import is_stopping, raise_if_stopping, stop_on_signals
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
