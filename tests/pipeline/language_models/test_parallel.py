from __future__ import annotations

import threading

import pytest

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
