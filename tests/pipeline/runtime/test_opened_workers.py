"""Workers are opened once a process and run, and closed when they cannot be used any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from pipeline.runtime.opened_workers import borrow, close_idle, give_back

EVENTS: list[str] = []


@dataclass(frozen=True)
class Worker:
    name: str

    @contextmanager
    def open(self) -> Iterator[Callable[[], str]]:
        EVENTS.append(f"open {self.name}")
        yield lambda: self.name
        EVENTS.append(f"close {self.name}")


@pytest.fixture(autouse=True)
def nothing_is_open() -> Iterator[None]:
    EVENTS.clear()
    yield
    close_idle()


def test_bundles_of_a_run_share_the_worker_of_their_configuration() -> None:
    for name in ("a", "b", "a"):
        opened = borrow("run", Worker(name))
        assert opened.work() == name
        give_back(opened)
    assert EVENTS == ["open a", "open b"]


def test_two_bundles_at_a_time_use_two_workers() -> None:
    first, second = borrow("run", Worker("a")), borrow("run", Worker("a"))
    give_back(first)
    give_back(second)
    assert borrow("run", Worker("a")) in (first, second)
    assert EVENTS == ["open a", "open a"]


def test_the_next_run_closes_idle_workers_of_the_last_and_no_others() -> None:
    idle, busy = borrow("one", Worker("idle")), borrow("one", Worker("busy"))
    give_back(idle)
    give_back(borrow("two", Worker("next")))
    assert EVENTS == ["open idle", "open busy", "close idle", "open next"]
    busy.close()
    assert EVENTS[-1] == "close busy"
