"""The TensorBoard log of a run, in the folder `tensorboard/` of its output."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from schemas.errors import storage_errors

TENSORBOARD = "tensorboard"

_FLUSH_S = 30


class TensorBoard:
    """Writes scalars and images. Events after `step`, where the run resumes, are hidden by TensorBoard's purge step.

    Events are written by the thread that adds them: the thread of tensorboardX's `SummaryWriter` ends when the disk is
    full, and the run would wait for it for ever. Raises StorageError if the disk is full.
    """

    def __init__(self, run: Path, *, step: int) -> None:
        self.path = run / TENSORBOARD
        with storage_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            # The suffix keeps files apart: their names have a resolution of one second, and an existing one is emptied.
            self._writer = EventsWriter(str(self.path / "events"), f".{step}")
        self._flushed = -math.inf
        self._write(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def add_row(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Write the values of a row under the tags KIND/NAME."""
        for name, value in values.items():
            self._write(Event(step=step, summary=summary.scalar(f"{kind}/{name}", value)))

    def add_image(self, tag: str, image: NDArray[np.uint8], step: int) -> None:
        """Write one image, uint8 `[H, W, 3]`."""
        self._write(Event(step=step, summary=summary.image(tag, image, dataformats="HWC")))

    def close(self) -> None:
        """Flush and close the file."""
        with storage_errors(self.path):
            self._writer.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        with storage_errors(self.path):
            self._writer.write_event(event)
            if time.monotonic() - self._flushed >= _FLUSH_S:
                self._writer.flush()
                self._flushed = time.monotonic()
