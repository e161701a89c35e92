"""How many workers this machine can feed."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of the container: "200000 100000" are two cores, "max 100000" all
_BYTES_PER_WORKER = 1 << 30  # a decoder of large frames, and a batch in the encoder


def usable_cores(quota: Path = _QUOTA) -> int:
    """Return how many cores this process may use: by its affinity, and by the quota of its container, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        microseconds, period = map(int, quota.read_text(encoding="ascii").split())
    except (OSError, ValueError):  # no quota, or no control groups
        return cores
    return max(1, min(cores, microseconds // period))


def default_workers() -> int:
    """Return one worker per usable core, and at most one per GiB of memory that is available."""
    return max(1, min(usable_cores(), psutil.virtual_memory().available // _BYTES_PER_WORKER))
