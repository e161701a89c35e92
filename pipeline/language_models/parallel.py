"""Asks several requests at a time."""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")

_CHECK_S = 0.5
_GRACE_S = 5.0  # for the calls under way when the user stops the command: a server may take many minutes


@dataclass(frozen=True)
class _Result(Generic[Made]):
    number: int
    made: Made | None = None
    error: BaseException | None = None


def in_parallel(
    ask: Callable[[Given], Made],
    inputs: Iterable[Given],
    *,
    concurrency: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Iterator[tuple[int, Made]]:
    """Yield the number of each input and what `ask` returns for it, as they are made.

    Inputs are drawn when they are needed, as prompts can be long. What `ask` raises ends the iteration, after the calls
    under way have returned. Ctrl-C waits for them for a few seconds only: their threads end with the process.
    """
    waiting = enumerate(inputs)
    given: SimpleQueue[tuple[int, Given] | None] = SimpleQueue()
    results: SimpleQueue[_Result[Made]] = SimpleQueue()
    for _ in range(concurrency):
        threading.Thread(target=_answer, args=(ask, given, results), daemon=True).start()
    running = done = 0
    try:
        for one in itertools.islice(waiting, concurrency):
            given.put(one)
            running += 1
        while running:
            result = _next(results)
            running -= 1
            if result.error is not None:
                raise result.error
            for one in itertools.islice(waiting, 1):
                given.put(one)
                running += 1
            yield result.number, result.made  # type: ignore[misc]  # there is no error
            done += 1
            progress(done)
    except Exception:
        _wait(results, running, math.inf)
        raise
    except BaseException:
        _wait(results, running, _GRACE_S)
        raise
    finally:
        for _ in range(concurrency):
            given.put(None)


def _answer(
    ask: Callable[[Given], Made],
    given: SimpleQueue[tuple[int, Given] | None],
    results: SimpleQueue[_Result[Made]],
) -> None:
    """Call `ask` until there is nothing left."""
    while (one := given.get()) is not None:
        number, value = one
        try:
            results.put(_Result(number, ask(value)))
        except BaseException as e:  # noqa: BLE001 - the iterator raises it
            results.put(_Result(number, error=e))


def _next(results: SimpleQueue[_Result[Made]]) -> _Result[Made]:
    """Return the next result. A signal that arrives just before the wait does not end it, so the wait is repeated."""
    while True:
        with contextlib.suppress(Empty):
            return results.get(timeout=_CHECK_S)


def _wait(results: SimpleQueue[_Result[Made]], running: int, seconds: float) -> None:
    """Wait until all calls under way have returned, but not longer."""
    until = time.monotonic() + seconds
    for _ in range(running):
        left = until - time.monotonic()
        try:
            results.get(timeout=None if math.isinf(left) else max(0.0, left))
        except Empty:
            return
