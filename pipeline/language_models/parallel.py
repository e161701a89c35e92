"""Asks several requests at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def in_parallel(
    ask: Callable[[Given], Made],
    inputs: Iterable[Given],
    *,
    concurrency: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Iterator[tuple[int, Made]]:
    """Yield the number of each input and what `ask` returns for it, as they are made.

    Inputs are drawn when they are needed, as prompts can be long. What `ask` raises ends the iteration, after the calls
    under way have returned.
    """
    waiting = enumerate(inputs)
    pool = ThreadPoolExecutor(concurrency)
    running: dict[Future[Made], int] = {}

    def start(count: int) -> None:
        running.update({pool.submit(ask, given): n for n, given in itertools.islice(waiting, count)})

    try:
        start(concurrency)
        done = 0
        while running:
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            start(len(finished))
            for future in finished:
                yield running.pop(future), future.result()
                done += 1
                progress(done)
    finally:
        pool.shutdown(cancel_futures=True)
