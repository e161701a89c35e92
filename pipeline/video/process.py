"""The parent's side of one decoder process: starts it, exchanges messages, enforces its limits, ends it.

The child is started as a separate program (`python -m pipeline.video.child`): `spawn` without importing the parent's
main module. The shared memory has no name (memfd on Linux, an unlinked file elsewhere), so nothing is left behind when
either side is killed, and the size of /dev/shm does not matter.

Limits are enforced from outside, so that they hold for a decoder that hangs: while the caller waits, the child's
resident memory and the time are checked every 50 ms, and a child beyond a limit is killed. (RLIMIT_AS limits address
space, of which codecs and threads reserve far more than they use.) A child can exceed its memory limit within one such
interval. Memory that it allocates while nobody waits is checked at the next wait; by then it has at most filled the
ring.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import IO

import numpy as np
import psutil
from numpy.typing import NDArray

from pipeline.video.backends.registry import require_backend
from pipeline.video.message_codec import (
    decode,
    encode,
    encode_settings,
)
from pipeline.video.messages import (
    ChildSettings,
    FreeSlot,
    Request,
    Started,
    ToChild,
    ToParent,
)
from pipeline.video.types import DecodeConfig
from schemas.deadline import checkpoint
from schemas.errors import InputError, JobError, LongreelError, Reason
from schemas.runs.interrupt import starting_child

_CHECK_INTERVAL_S = 0.05
_START_LIMIT_S = 120.0
_MAX_OUTPUT_BYTES = 2000


@dataclass
class TimeBudget:
    """The remaining seconds of one request, and the video's path for messages."""

    path: str
    seconds: float


class DecoderProcess:
    """One running child. Belongs to the process that created it; used by one thread at a time."""

    def __init__(self, config: DecodeConfig) -> None:
        """Start the child and wait until it is ready. Raises JobError if it cannot start."""
        self.config = config
        shape = (config.slots, config.batch, config.size, config.size, 3)
        self._owner = os.getpid()
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # stdout and stderr of the child
        ring_fd = _anonymous_memory(int(np.prod(shape)))
        lifeline, self._lifeline = os.pipe()
        self._pipe, pipe = Pipe()
        settings = ChildSettings(pipe.fileno(), lifeline, ring_fd, require_backend(config.backend), config)
        try:
            with starting_child():
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "pipeline.video.child", encode_settings(settings)],
                    pass_fds=(pipe.fileno(), lifeline, ring_fd),
                    stdin=subprocess.DEVNULL,
                    stdout=self._output,
                    stderr=self._output,
                    env=_environment(),
                )
            self._memory = mmap.mmap(ring_fd, int(np.prod(shape)))
        finally:
            pipe.close()
            os.close(lifeline)
            os.close(ring_fd)
        self._ring: NDArray[np.uint8] = np.frombuffer(self._memory, np.uint8).reshape(shape)
        self._monitor = psutil.Process(self._process.pid)
        self._checked_at = 0.0
        self._await_ready()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called, or the child was killed for exceeding a limit."""
        return self._pipe.closed

    def is_reusable(self) -> bool:
        """Whether the child runs, and holds less than half of its memory limit before the next video."""
        return (
            not self.is_closed
            and self._process.poll() is None
            and self._resident_bytes() < self.config.memory_limit_bytes / 2
        )

    def send(self, message: ToChild) -> None:
        """Send one message. If the child is gone, the next `receive` raises."""
        with contextlib.suppress(OSError):
            self._pipe.send_bytes(encode(message))

    def start_request(self, request: Request, budget: TimeBudget) -> None:
        """Send a request and wait until the child has taken it. Raises as `receive`."""
        self._output.seek(0)
        self._output.truncate()
        self.send(request)
        while self.receive(budget) != Started(request.id):
            pass  # replies to a request that was stopped

    def receive(self, budget: TimeBudget) -> ToParent:
        """Wait for the next message and subtract the waiting time from `budget`.

        Raises InputError TIMEOUT, MEMORY or CRASHED, and what `checkpoint` raises; the child is dead then.
        """
        message: ToParent = decode(self.receive_bytes(budget))
        return message

    def receive_bytes(self, budget: TimeBudget) -> bytes:
        """Wait for the next message as bytes; otherwise as `receive`."""
        try:
            while not self._poll(budget):
                self._checkpoint()
            return self._pipe.recv_bytes()
        except (EOFError, OSError) as e:
            raise InputError(Reason.CRASHED, f"{budget.path}: the decoder {self._describe_end()}") from e

    def take_frames(self, slot: int, count: int) -> NDArray[np.uint8]:
        """Copy a batch out of the ring, uint8 [count, size, size, 3], and free its slot."""
        frames = self._ring[slot, :count].copy()
        self.send(FreeSlot(slot))
        return frames

    def close(self) -> None:
        """Kill the child and wait for its end. Can be called twice; has no effect in a forked copy of the parent."""
        if os.getpid() != self._owner or self.is_closed:
            return
        self._process.kill()
        self._process.wait()
        self._pipe.close()
        os.close(self._lifeline)
        self._output.close()
        del self._ring
        self._memory.close()

    def _checkpoint(self) -> None:
        """Let the item report that it takes long, and end; the child is dead then."""
        try:
            checkpoint()
        except LongreelError:
            self.close()
            raise

    def _poll(self, budget: TimeBudget) -> bool:
        started_at = time.monotonic()
        arrived = self._pipe.poll(min(_CHECK_INTERVAL_S, max(0.0, budget.seconds)))
        now = time.monotonic()
        budget.seconds -= now - started_at
        if now - self._checked_at > _CHECK_INTERVAL_S:
            self._checked_at = now
            self._check_memory(budget)
        if not arrived and budget.seconds <= 0:
            self.close()
            limit = f"the time limit of {self.config.time_limit_s:g} s (time_limit_s)"
            raise InputError(Reason.TIMEOUT, f"{budget.path}: decoding was stopped at {limit}")
        return arrived

    def _check_memory(self, budget: TimeBudget) -> None:
        used = self._resident_bytes()
        if used > self.config.memory_limit_bytes:
            self.close()
            limit = f"{self.config.memory_limit_bytes >> 20} MiB (memory_limit_bytes)"
            raise InputError(
                Reason.MEMORY,
                f"{budget.path}: decoding was stopped at {used >> 20} MiB of memory; the limit is {limit}",
            )

    def _resident_bytes(self) -> int:
        try:
            return int(self._monitor.memory_info().rss)
        except psutil.Error:
            return 0  # the child has just ended, which the pipe reports

    def _await_ready(self) -> None:
        if not self._pipe.poll(_START_LIMIT_S):
            self.close()
            raise JobError(f"the decoder process did not start within {_START_LIMIT_S:g} s; is the machine overloaded?")
        try:
            self._pipe.recv_bytes()
        except (EOFError, OSError) as e:
            raise JobError(f"the decoder process could not start: it {self._describe_end()}") from e

    def _describe_end(self) -> str:
        """Return how the child ended, with the end of its output, and release its resources."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:  # it closed the pipe and still runs
            code = 0
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - _MAX_OUTPUT_BYTES))
        lines = self._output.read().decode("utf-8", "replace").split("\n")
        output = next((line.strip() for line in reversed(lines) if line.strip()), "")  # of a traceback, the message
        self.close()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"
        return f"{how}. {output}".strip()


def _anonymous_memory(size_bytes: int) -> int:
    if sys.platform == "linux":
        fd = os.memfd_create("longreel-frames")
    else:
        with tempfile.TemporaryFile() as f:
            fd = os.dup(f.fileno())
    os.ftruncate(fd, size_bytes)
    return fd


def _environment() -> dict[str, str]:
    # The child imports from the same places as its parent. It uses one thread: jobs run one video per worker.
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
