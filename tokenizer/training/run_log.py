"""What a training run tells: `metrics.jsonl`, the same for TensorBoard, and pictures beside what became of them.

    {"step": 50, "loss": 0.31, "psnr": 18.2, "code_use": 0.93, "perplexity": 641.0, "frames_per_s": 310.4, …}

A line holds the means over the steps since the line before it; code use and perplexity are those of all their codes
together. Where a run was stopped and gone on with, the window begins at the snapshot. A run that goes on from step k
keeps the lines up to k and writes those behind it again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tensorboardX import SummaryWriter

from schemas.errors import storage_errors
from schemas.files import atomic, write_text
from schemas.runs import METRICS, TENSORBOARD, finite, metrics_line, read_metrics
from tokenizer.quantizers.base import perplexity

PICTURES = "pictures"


class RunLog:
    """Appends to a run's metrics; a context manager. Lines behind `step`, where the run goes on, are dropped first."""

    def __init__(self, run: Path, *, step: int) -> None:
        self.path = run / METRICS
        self._pictures = run / PICTURES
        write_text(self.path, "".join(metrics_line(row) for row in read_metrics(self.path) if row["step"] <= step))
        self._file = self.path.open("a", encoding="utf-8")
        # A suffix of its own: the writer's names have a resolution of one second, and it truncates what is there.
        self._board = SummaryWriter(str(run / TENSORBOARD), purge_step=step + 1, filename_suffix=f".{step}")
        self._window: list[Mapping[str, Any]] = []
        self._began = time.monotonic()

    def add(self, metrics: Mapping[str, jax.Array]) -> None:
        """Take the metrics of one step, on the host from here on."""
        self._window.append(jax.device_get(metrics))

    def write(self, step: int, *, batch: int) -> dict[str, float]:
        """Write one line, and return it."""
        now = time.monotonic()
        names = sorted({name for m in self._window for name in m} - {"used"})
        line = {name: float(np.mean([m[name] for m in self._window if name in m])) for name in names}
        used = np.sum([m["used"] for m in self._window], axis=0)
        line |= {"code_use": float((used > 0).mean()), "perplexity": float(perplexity(jnp.asarray(used)))}
        line = {"step": step, **line, "frames_per_s": len(self._window) * batch / max(now - self._began, 1e-9)}
        with storage_errors(self.path):
            self._file.write(metrics_line({name: finite(value) for name, value in line.items()}))
            self._file.flush()
            for name, value in line.items():
                if name != "step" and math.isfinite(value):
                    self._board.add_scalar(name, value, step)
        self._window, self._began = [], now
        return line

    def show(self, step: int, frames: NDArray[np.uint8], rebuilt: NDArray[np.uint8]) -> Path:
        """Write a picture of frames `[n, H, W, 3]` with what became of them below; return its path."""
        rows = [np.concatenate(list(row), axis=1) for row in (frames, rebuilt)]
        picture = np.concatenate(rows)
        path = self._pictures / f"{step:06d}.png"
        with atomic(path) as temporary:
            Image.fromarray(picture).save(temporary, format="PNG")
        with storage_errors(path):
            self._board.add_image("rebuilt", picture, step, dataformats="HWC")
        return path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        self._board.close()
