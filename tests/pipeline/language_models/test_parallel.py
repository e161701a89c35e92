from __future__ import annotations

import signal
import threading
import time

import pytest

from pipeline.language_models import parallel
from pipeline.language_models.parallel import in_parallel


def test_every_input_is_asked_once_and_numbered() -> None:
    counted: list[int] = []
    found = dict(in_parallel(lambda n: n * n, range(20), concurrency=3, progress=counted.append))
    assert found == {n: n * n for n in range(20)}
    assert counted == list(range(1, 21))


def test_as_many_are_asked_at_a_time_as_allowed() -> None:
    together = threading.Barrier(3, timeout=20)

    def ask(n: int) -> int:
        together.wait()  # raises unless three are asked at once
        return n

    assert len(dict(in_parallel(ask, range(6), concurrency=3))) == 6


def test_an_error_ends_the_iteration() -> None:
    def ask(n: int) -> int:
        if n == 2:
            raise ValueError("no answer")
        return n

    with pytest.raises(ValueError, match="no answer"):
        dict(in_parallel(ask, range(100), concurrency=1))


def test_ctrl_c_does_not_wait_for_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_GRACE_S", 0.1)
    answered, main = threading.Event(), threading.get_ident()

    def ask(n: int) -> int:
        signal.pthread_kill(main, signal.SIGINT)
        answered.wait(30)
        return n

    started = time.monotonic()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            dict(in_parallel(ask, range(10), concurrency=1))
        assert time.monotonic() - started < 20
    finally:
        answered.set()
        signal.signal(signal.SIGINT, before)


def test_an_error_waits_for_the_calls_under_way() -> None:
    begun, returned = threading.Event(), threading.Event()

    def ask(n: int) -> int:
        if n == 0:
            begun.wait(20)
            raise ValueError("no answer")
        begun.set()
        time.sleep(0.1)
        returned.set()
        return n

    with pytest.raises(ValueError, match="no answer"):
        dict(in_parallel(ask, range(2), concurrency=2))
    assert returned.is_set()
