"""Mutual exclusion of the processes that change a workspace or a dataset.

On a local file, a lock of the operating system, which ends with the process.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from schemas.errors import LeaseHeld
from schemas.storage.location import Location


@contextmanager
def lease(location: Location, *, owner: str, ttl_s: float = 60.0) -> Iterator[None]:
    """Exclude other processes from `location`, a file that exists, while the body runs.

    `owner` is named to others; where the operating system does not end the lease with the process, it expires `ttl_s`
    seconds after it was last renewed. Raises LeaseHeld if another process holds it.
    """
    with location.local().open("rb+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise LeaseHeld(f"{location} is in use by another longreel command; wait until it ends") from e
        except OSError:  # a file system without locks: the user has to run one command at a time
            pass
        yield
