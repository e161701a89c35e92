"""Starts the processes of a run on this machine, shows what they print, and ends all when one ends with an error."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any

from schemas.errors import Interrupted, JobError
from schemas.printable import printable
from schemas.runs.messages import messages
from trainer.run.group.distributed import COORDINATOR, PROCESS_ID, PROCESSES
from trainer.run.native_output import NATIVE_OUTPUT, end_of_native_output

LAUNCHER = "LONGREEL_LAUNCHER"  # the process number of the launcher

INTERRUPTED = 130
_SENT = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)  # by a person or the system; others are crashes
_PR_SET_PDEATHSIG = 1  # of Linux's sys/prctl.h
_END_S = 10.0  # how long the others may take to end by themselves
_POLL_S = 0.1


def run_locally(count: int, command: Sequence[str], *, native_output: Path | None = None) -> None:
    """Run `command` in `count` processes that train together, and wait until all have ended.

    The first process has this one's standard error, the lines of the others begin with their number. A signal goes to
    all. What native libraries print is kept in the folder `native_output`; by default only the end of it is shown, if a
    process crashes. Raises Interrupted if they stopped on request, and JobError if one of them failed.
    """
    with tempfile.TemporaryDirectory(prefix="longreel-") as scratch:
        _run(count, command, native_output or Path(scratch))


def _run(count: int, command: Sequence[str], native_output: Path) -> None:
    shared = {COORDINATOR: f"127.0.0.1:{free_port()}", PROCESSES: str(count), NATIVE_OUTPUT: str(native_output)}
    processes = [_start(i, command, shared) for i in range(count)]
    threads = [threading.Thread(target=_show, args=(i, p.stderr), daemon=True) for i, p in enumerate(processes)]
    for thread in threads:
        thread.start()
    with _forwarding(processes):
        failed = _first_failure(processes)
    _end(processes)
    for thread in threads:
        thread.join()
    if failed is not None:
        i, code = failed
        if code == INTERRUPTED:
            raise Interrupted("all processes stopped; the same command resumes")
        printed = end_of_native_output(native_output, processes[i].pid) if code < 0 and -code not in _SENT else ""
        raise JobError(
            f"process {i} of {count} {how_it_ended(code)}; the others were ended. The same command resumes."
            + (f" It printed:\n{printed}" if printed else "")
        )


def how_it_ended(code: int) -> str:
    """Return what a message says of a process that returned `code`, which is -N if signal N killed it."""
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def run_child(command: Sequence[str]) -> int:
    """Run `command` in a process that gets the signals of this one; return its exit code, -N if signal N killed it."""
    process = subprocess.Popen(command, env=os.environ | {LAUNCHER: str(os.getpid())}, start_new_session=True)
    with _forwarding([process]):
        return process.wait()


def _start(i: int, command: Sequence[str], shared: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        env={**os.environ, **shared, PROCESS_ID: str(i), LAUNCHER: str(os.getpid())},
        stdout=None if i == 0 else subprocess.DEVNULL,
        stderr=None if i == 0 else subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # or Ctrl-C in a terminal would reach it twice, and the second signal ends it at once
    )


def stop_with_launcher() -> None:
    """Make this process stop, as after SIGTERM, when its launcher is killed; does nothing without a launcher.

    Only Linux can tell a process of the end of its parent. Raises JobError if the launcher has ended already.
    """
    launcher, library = os.environ.get(LAUNCHER), ctypes.CDLL(None)
    if launcher is None or not hasattr(library, "prctl"):
        return
    library.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(launcher):
        raise JobError("the process that started this one was killed; run the same command again")


def free_port() -> int:
    """Return a TCP port of this machine that is free now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
    return port


def _show(i: int, stream: IO[str] | None) -> None:
    if stream is None:
        return
    with stream:
        for line in stream:
            text = line.rstrip() if messages.is_json else f"process {i}: {line.rstrip()}"
            print(printable(text), file=sys.stderr, flush=True)


@contextlib.contextmanager
def _forwarding(processes: Sequence[subprocess.Popen[Any]]) -> Iterator[None]:
    """Send SIGTERM and SIGINT on to the processes while the body runs."""

    def forward(number: int, _: FrameType | None) -> None:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    previous = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _first_failure(processes: Sequence[subprocess.Popen[str]]) -> tuple[int, int] | None:
    """Wait until all processes have ended, or one with an error; return its number and exit code."""
    while True:
        codes = [process.poll() for process in processes]
        for i, code in enumerate(codes):
            if code:
                return i, code
        if all(code == 0 for code in codes):
            return None
        time.sleep(_POLL_S)


def _end(processes: Sequence[subprocess.Popen[str]]) -> None:
    """Wait a little for processes that are ending, and kill the others: they wait for one that is gone."""
    deadline = time.monotonic() + _END_S
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(deadline - time.monotonic(), 0))
        process.kill()
        process.wait()
