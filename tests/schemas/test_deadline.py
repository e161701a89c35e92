from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from schemas.deadline import checked, checkpoint, time_limit
from schemas.errors import InputError, Interrupted, Reason


def test_a_checkpoint_has_no_effect_outside_of_a_limit() -> None:
    checkpoint()
    assert list(checked(range(3), every=1)) == [0, 1, 2]


def test_a_checkpoint_raises_when_the_time_is_over() -> None:
    with time_limit(0.05):
        checkpoint()
        time.sleep(0.06)
        with pytest.raises(InputError, match=r"stopped at the time limit of 0.05 s \(time-limit-s\)") as e:
            checkpoint()
    assert e.value.reason is Reason.TIMEOUT
    checkpoint()


def test_a_loop_is_checked_at_its_start_and_between_items() -> None:
    calls: list[int] = []
    with time_limit(None, check=lambda: calls.append(1)):
        assert sum(checked(range(10), every=4)) == 45
    assert len(calls) == 3


def test_what_the_check_raises_ends_the_loop() -> None:
    def interrupt() -> None:
        raise Interrupted("stop")

    with time_limit(None, check=interrupt), pytest.raises(Interrupted):
        list(checked(range(10)))


def test_an_inner_limit_replaces_the_outer_one_and_ends_with_its_body() -> None:
    def note(name: str) -> Callable[[], None]:
        return lambda: calls.append(name)

    calls: list[str] = []
    with time_limit(None, check=note("outer")):
        with time_limit(None, check=note("inner")):
            checkpoint()
        checkpoint()
    assert calls == ["inner", "outer"]
