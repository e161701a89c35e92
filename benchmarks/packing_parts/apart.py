"""Runs a function in its own process to measure its memory, and measures time."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

Row = dict[str, Any]


class Apart(NamedTuple):
    """The result of a function that ran in its own process, and the peak memory of that process."""

    result: Any
    rss: int  # bytes, including mapped files
    anonymous: int  # bytes, without mapped files


_in_one_process = False


def use_one_process() -> None:
    """Make `apart` call functions in this process: quicker, as nothing is imported again, but memory is all of it."""
    global _in_one_process
    _in_one_process = True


def apart(work: Callable[..., Any], *args: Any) -> Apart:
    if _in_one_process:
        return _watched(work, *args)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_watched, work, *args).result()


def _watched(work: Callable[..., Any], *args: Any) -> Apart:
    done, most = threading.Event(), [_status("RssAnon")]

    def watch() -> None:
        while not done.wait(0.01):
            most[0] = max(most[0], _status("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = work(*args)
    finally:
        done.set()
        watcher.join()
    return Apart(result, _status("VmHWM"), most[0])


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@contextlib.contextmanager
def timed(row: Row, name: str) -> Iterator[None]:
    """Add the wall-clock and CPU seconds of the body to `row`."""
    wall, used = time.perf_counter(), time.process_time()
    yield
    for key, seconds in ((f"{name}_s", time.perf_counter() - wall), (f"{name}_cpu_s", time.process_time() - used)):
        row[key] = row.get(key, 0.0) + seconds
