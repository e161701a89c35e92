"""The time limit of one item's work, and the request to stop it.

Text is processed in the worker's thread, which nothing can end from outside. Long loops therefore call `checkpoint`
between their steps, which are short because the size of an item is limited. Outside of `time_limit` it has no effect.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from schemas.errors import InputError, Reason

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class _Limit:
    seconds: float
    ends_at: float
    check: Callable[[], None]


_LIMIT: ContextVar[_Limit | None] = ContextVar("limit", default=None)


@contextmanager
def time_limit(seconds: float | None, *, check: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Let `checkpoint` call `check` in the body, and raise InputError TIMEOUT after `seconds` (None: no limit)."""
    limit = float("inf") if seconds is None else seconds
    token = _LIMIT.set(_Limit(limit, time.monotonic() + limit, check))
    try:
        yield
    finally:
        _LIMIT.reset(token)


def checkpoint() -> None:
    """Raise InputError TIMEOUT if the item's time is over, and what `check` raises, for example Interrupted."""
    limit = _LIMIT.get()
    if limit is None:
        return
    limit.check()
    if time.monotonic() > limit.ends_at:
        message = f"reading was stopped at the time limit of {limit.seconds:g} s (time-limit-s)"
        raise InputError(Reason.TIMEOUT, message)


def checked(items: Iterable[_Item], *, every: int = 1024) -> Iterator[_Item]:
    """Yield the items, with a checkpoint before every `every`-th."""
    for number, item in enumerate(items):
        if number % every == 0:
            checkpoint()
        yield item
