"""Conditions for changes: what this process must check before it writes or deletes an object below a folder.

`lease` adds one for the folder that it excludes others from, and a remote store checks before every request that
changes something. A lease itself is excepted. Threads share the conditions, child processes have none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from schemas.storage.store import is_lease

_guards: dict[object, tuple[str, Callable[[], None]]] = {}


@contextmanager
def guarded(folder: str, check: Callable[[], None]) -> Iterator[None]:
    """Call `check` before each change below a folder of a bucket, given by its address, while the body runs."""
    key = object()
    _guards[key] = f"{folder}/", check
    try:
        yield
    finally:
        del _guards[key]


def check_guards(address: str) -> None:
    """Raise what a check raises, if the object or folder at an address must not be changed any more."""
    if not _guards or is_lease(address.rpartition("/")[2]):
        return
    for folder, check in tuple(_guards.values()):
        if f"{address}/".startswith(folder):
            check()


os.register_at_fork(after_in_child=_guards.clear)
