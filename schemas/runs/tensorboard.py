"""The TensorBoard log of a run, in the folder `tensorboard/` of its output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tensorboardX import SummaryWriter

from schemas.errors import storage_errors

TENSORBOARD = "tensorboard"

_FLUSH_S = 30


class TensorBoard:
    """Writes scalars and images. Events after `step`, where the run resumes, are hidden by TensorBoard's purge step.

    Raises StorageError if the disk is full.
    """

    def __init__(self, run: Path, *, step: int) -> None:
        self.path = run / TENSORBOARD
        # The suffix keeps files apart: SummaryWriter's names have a resolution of one second, and it truncates.
        self._writer = SummaryWriter(
            str(self.path), purge_step=step + 1, flush_secs=_FLUSH_S, filename_suffix=f".{step}"
        )

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Write one value."""
        with storage_errors(self.path):
            self._writer.add_scalar(tag, value, step)

    def add_image(self, tag: str, image: NDArray[np.uint8], step: int) -> None:
        """Write one image, uint8 `[H, W, 3]`."""
        with storage_errors(self.path):
            self._writer.add_image(tag, image, step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()
