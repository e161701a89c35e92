"""The parent's side of one decoder process: start it, talk to it, hold it to its limits, end it.

The child is started as a program of its own (`python -m pipeline.video.child`), which is what `spawn` does, less the
import of the parent's main module. The frames' memory has no name (memfd on Linux, an unlinked file elsewhere), so
nothing is left behind when either side is killed, and the size of /dev/shm does not matter.

Limits are kept from outside, so that they hold for a decoder that hangs: while the caller waits, the child's
resident memory and the time are looked at every 50 ms, and a child beyond a limit is killed. (RLIMIT_AS counts
address space, of which codecs and threads reserve far more than they use.) Memory taken within one such interval
comes on top; and memory that a child takes while nobody waits for it is seen at the next wait: it can get no further
than a full ring.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing import Pipe
from pathlib import Path
from typing import IO, Any

import numpy as np
import psutil
from numpy.typing import NDArray

from pipeline.video.types import DecodeConfig
from schemas.errors import InputError, JobError, Reason

_LOOK_EVERY_S = 0.05
_START_LIMIT_S = 120.0
_LAST_WORDS_BYTES = 2000


@dataclasses.dataclass
class Allowance:
    """What is left of one request's time, and whose request it is."""

    path: str
    seconds: float


class DecoderProcess:
    """One running child. Made by one process and used by one thread of it at a time."""

    def __init__(self, config: DecodeConfig) -> None:
        """Start the child and wait until it is ready. Raises JobError where it cannot start."""
        self.config = config
        shape = (config.slots, config.batch, config.size, config.size, 3)
        self._owner = os.getpid()
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # what the child prints
        ring_fd = _anonymous_memory(int(np.prod(shape)))
        lifeline, self._lifeline = os.pipe()
        self._pipe, pipe = Pipe()
        settings = {
            "pipe": pipe.fileno(),
            "lifeline": lifeline,
            "ring": ring_fd,
            "config": dataclasses.asdict(config),
        }
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "pipeline.video.child", json.dumps(settings)],
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
        self._watched = psutil.Process(self._process.pid)
        self._looked_at = 0.0
        self._await_ready()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called, or a limit ended the child."""
        return self._pipe.closed

    def is_fit(self) -> bool:
        """Whether the child runs and has not kept so much memory that the next video would pay for it."""
        return (
            not self.is_closed
            and self._process.poll() is None
            and self._resident_bytes() < self.config.memory_limit_bytes / 2
        )

    def send(self, message: dict[str, Any]) -> None:
        """Send one message. A child that is gone is noticed by the next `receive`."""
        with contextlib.suppress(OSError):
            self._pipe.send_bytes(json.dumps(message).encode())

    def begin(self, request: dict[str, Any], allowance: Allowance) -> None:
        """Send a request and wait until the child has taken it. Raises as `receive`."""
        self._output.seek(0)
        self._output.truncate()
        self.send(request)
        while self.receive(allowance) != {"id": request["id"], "begun": True}:
            pass  # the end of a request that was stopped

    def receive(self, allowance: Allowance) -> dict[str, Any]:
        """Wait for the next message, at the cost of `allowance`.

        Raises InputError TIMEOUT, MEMORY or CRASHED; the child is dead then.
        """
        message: dict[str, Any] = json.loads(self.receive_bytes(allowance))
        return message

    def receive_bytes(self, allowance: Allowance) -> bytes:
        """Wait for the next message as bytes; otherwise as `receive`."""
        try:
            while not self._poll(allowance):
                pass
            return self._pipe.recv_bytes()
        except (EOFError, OSError) as e:
            raise InputError(Reason.CRASHED, f"{allowance.path}: the decoder {self._obituary()}") from e

    def taken(self, slot: int, count: int) -> NDArray[np.uint8]:
        """Copy a batch out of the ring, uint8 [count, size, size, 3], and give its place back."""
        frames = self._ring[slot, :count].copy()
        self.send({"free": slot})
        return frames

    def close(self) -> None:
        """End the child and wait for it. Safe to call twice, and without effect in a forked copy of the parent."""
        if os.getpid() != self._owner or self.is_closed:
            return
        self._process.kill()
        self._process.wait()
        self._pipe.close()
        os.close(self._lifeline)
        self._output.close()
        del self._ring
        self._memory.close()

    def _poll(self, allowance: Allowance) -> bool:
        began = time.monotonic()
        arrived = self._pipe.poll(min(_LOOK_EVERY_S, max(0.0, allowance.seconds)))
        now = time.monotonic()
        allowance.seconds -= now - began
        if now - self._looked_at > _LOOK_EVERY_S:
            self._looked_at = now
            self._check_memory(allowance)
        if not arrived and allowance.seconds <= 0:
            self.close()
            limit = f"the limit of {self.config.time_limit_s:g} s (time_limit_s)"
            raise InputError(Reason.TIMEOUT, f"{allowance.path}: decoding was ended at {limit}")
        return arrived

    def _check_memory(self, allowance: Allowance) -> None:
        used = self._resident_bytes()
        if used > self.config.memory_limit_bytes:
            self.close()
            limit = f"{used >> 20} MiB; the limit is {self.config.memory_limit_bytes >> 20} MiB (memory_limit_bytes)"
            raise InputError(Reason.MEMORY, f"{allowance.path}: decoding was ended at {limit}")

    def _resident_bytes(self) -> int:
        try:
            return int(self._watched.memory_info().rss)
        except psutil.Error:
            return 0  # it has just died, which the pipe tells

    def _await_ready(self) -> None:
        if not self._pipe.poll(_START_LIMIT_S):
            self.close()
            raise JobError(f"the decoder process did not start within {_START_LIMIT_S:g} s; is the machine overloaded?")
        try:
            self._pipe.recv_bytes()
        except (EOFError, OSError) as e:
            end = self._obituary()
            raise JobError(f"the decoder process could not start: it {end}") from e

    def _obituary(self) -> str:
        """Say how the child ended, with the last that it printed; and clean up after it."""
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:  # it closed its end, and lives
            code = 0
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - _LAST_WORDS_BYTES))
        words = self._output.read().decode("utf-8", "replace").strip()
        self.close()
        how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return f"{how}. {words}".strip()


def _anonymous_memory(size_bytes: int) -> int:
    if sys.platform == "linux":
        fd = os.memfd_create("longreel-frames")
    else:
        with tempfile.TemporaryFile() as f:
            fd = os.dup(f.fileno())
    os.ftruncate(fd, size_bytes)
    return fd


def _environment() -> dict[str, str]:
    # The child finds packages where its parent does. One thread: parallelism is the job's, one video a worker.
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
