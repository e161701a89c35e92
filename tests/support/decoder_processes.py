"""The decoder processes of a test: which run, whether one has ended, and the shared memory of the machine."""

from __future__ import annotations

import time
from pathlib import Path

import psutil


def children() -> list[psutil.Process]:
    """Return the decoder processes of this process."""
    return [child for child in psutil.Process().children() if "pipeline.video.child" in _command(child)]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.ZombieProcess, psutil.NoSuchProcess):  # it ended in the meantime, or is not waited for yet
        return []


def shared_memory() -> set[Path]:
    return set(Path("/dev/shm").iterdir())


def has_ended(pid: int, *, within_s: float = 10.0) -> bool:
    """Whether a process ends in time; a zombie counts as ended."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False
