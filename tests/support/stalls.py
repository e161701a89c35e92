"""Waits for processes as long as they make progress, however slow the machine is, and says where they stand if not.

A limit in seconds fails on a busy machine and tells nothing about a process that hangs. Here a process tree that uses
less than a second of processor time within `_STALL_S` has stalled: it is ended by SIGABRT, at which Python prints the
stack of every thread (PYTHONFAULTHANDLER).
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence

import psutil

_STALL_S = 150.0
_ENOUGH_S = 1.0  # processor time that counts as progress


class Stalled(AssertionError):
    """A process tree has made no progress; the message has the stacks of its threads."""


class Watched:
    """A process whose errors are kept, and its children; a context manager that ends all of them."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed on exit; a pipe could fill up
        self.popen = subprocess.Popen(
            command,
            env={**environment, "PYTHONFAULTHANDLER": "1"},
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
        )
        self._spent, self._since = 0.0, time.monotonic()

    @property
    def said(self) -> str:
        """What the process has printed as errors so far."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def tree(self) -> list[psutil.Process]:
        """Return the process and its children."""
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.popen.pid)
            return [root, *root.children(recursive=True)]
        return []

    def wait_until(self, is_reached: Callable[[], bool]) -> bool:
        """Wait for a condition; return False if the process ended before it. Raises Stalled."""
        while not is_reached():
            if self.popen.poll() is not None:
                return False
            self._require_progress()
            time.sleep(0.01)
        return True

    def finish(self) -> int:
        """Wait until the process ends, and return its exit code. Raises Stalled."""
        self.wait_until(lambda: False)
        return self.popen.returncode

    def _require_progress(self) -> None:
        now = time.monotonic()
        if now - self._since < _STALL_S / 10:
            return
        spent = sum(map(_processor_time, self.tree()))
        if spent > self._spent + _ENOUGH_S or spent < self._spent:
            self._spent, self._since = spent, now
        elif now - self._since > _STALL_S:
            raise Stalled(f"no progress within {_STALL_S} s: {self._stacks()}")

    def _stacks(self) -> str:
        root, *children = self.tree()
        for some in (children, [root]):  # the root shows what its children print
            for process in some:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGABRT)
            psutil.wait_procs(some, timeout=20)
        return self.said

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.popen.wait()
        self._errors.close()


def _processor_time(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0
