"""Agreement between the processes of a distributed run."""

from __future__ import annotations

import jax
import numpy as np
from jax.experimental import multihost_utils


def first_of_all(number: int | None) -> int | None:
    """Return the smallest number of all processes, None if none has one; every process must call this together."""
    if jax.process_count() == 1:
        return number
    numbers = multihost_utils.process_allgather(np.array([-1 if number is None else number], np.int64))
    given = [n for n in numbers.reshape(-1).tolist() if n >= 0]
    return min(given, default=None)


def any_process(flag: bool) -> bool:
    """Return whether `flag` is true in any process; every process must call this together."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.array([flag]))))


def wait_for_all(what: str) -> None:
    """Wait until every process has come to this place, which `what` names in an error."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)
