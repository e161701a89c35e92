"""Metrics of a run: `metrics.jsonl`, one line a step, flushed as it is written; and the same for TensorBoard.

    {"kind": "train", "step": 12, "loss": 5.1, "text_loss": 6.0, "vision_loss": 4.9, "gradient_norm": 1.3, …}
    {"kind": "eval", "step": 12, "loss": 5.3, "text_loss": 6.2, "vision_loss": 5.0, "sequences": 40, …}

`step` counts the updates that were made: evaluation at step 0 is that of the model before the first. A value that does
not exist (the text loss of a batch without text) is null, never NaN, so that every line is JSON.

A run that goes on from the checkpoint of step k keeps the lines up to k and drops those behind it, which it will write
again; TensorBoard is told the same through its purge step.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from tensorboardX import SummaryWriter

from schemas.errors import storage_errors
from schemas.files import write_text
from schemas.runs import METRICS, TENSORBOARD, finite, metrics_line, read_metrics

Kind = Literal["train", "eval"]

_FLUSH_S = 30


class MetricsLog:
    """Appends to a run's metrics; a context manager.

    Lines behind `step`, where the run goes on, are dropped first; a new run gives -1. Of several processes one is
    `primary` and writes; the others know the same lines. Raises StorageError where the disk is full.
    """

    def __init__(self, directory: Path, *, step: int, primary: bool = True) -> None:
        self.path = directory / METRICS
        kept = [row for row in read_metrics(self.path) if row["step"] <= step]
        self._seen = {(row["kind"], row["step"]): row for row in kept}
        self._primary = primary
        if not primary:
            return
        write_text(self.path, "".join(map(metrics_line, kept)))
        self._file = self.path.open("a", encoding="utf-8")
        # A suffix of its own: the writer's names have a resolution of one second, and it truncates what is there.
        self._board = SummaryWriter(
            str(directory / TENSORBOARD), purge_step=step + 1, flush_secs=_FLUSH_S, filename_suffix=f".{step}"
        )

    def write(self, kind: Kind, step: int, values: Mapping[str, float]) -> None:
        """Append one line; nothing is written where this kind has one at this step already."""
        if (kind, step) in self._seen:
            return
        row = {"kind": kind, "step": step, **{name: finite(value) for name, value in values.items()}}
        self._seen[kind, step] = row
        if not self._primary:
            return
        with storage_errors(self.path):
            self._file.write(metrics_line(row))
            self._file.flush()
            for name, value in row.items():
                if name not in ("kind", "step") and value is not None:
                    self._board.add_scalar(f"{kind}/{name}", value, step)

    def find(self, kind: Kind, step: int) -> Mapping[str, Any] | None:
        """Return the line of this kind at this step, or None where there is none."""
        return self._seen.get((kind, step))

    def rows(self, kind: Kind) -> list[dict[str, Any]]:
        """Return all lines of a kind in the order of their steps."""
        return [row for key, row in sorted(self._seen.items()) if key[0] == kind]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        if self._primary:
            self._file.close()
            self._board.close()
