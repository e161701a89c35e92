"""Metrics of a training run: `metrics.jsonl`, one JSON object per line, flushed after every line.

    {"kind": "train", "step": 12, "loss": 5.1, "text_loss": 6.0, "vision_loss": 4.9, "gradient_norm": 1.3, …}
    {"kind": "eval", "step": 12, "loss": 5.3, "text_loss": 6.2, "vision_loss": 5.0, "sequences": 40, …}

`step` is the number of updates: an evaluation at step 0 measures the initial model. A value that does not exist (the
text loss of a batch without text) is null, never NaN, so every line is valid JSON. The field `checksum` is the hash of
the others; a line that does not match it is damaged and dropped.

A run that resumes from the checkpoint of step k keeps the lines up to k and drops later ones, which it writes again.
The same values can go to TensorBoard, under the tags `train/loss`, `eval/loss`, ….
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from schemas.checksums import checksum
from schemas.errors import storage_errors
from schemas.files import write_text
from schemas.storage.location import located
from schemas.storage.regular import open_appending

METRICS = "metrics.jsonl"

Kind = Literal["train", "eval"]


class Board(Protocol):
    """Displays the rows of the log as curves; `schemas.runs.tensorboard.TensorBoard` implements it."""

    def add_row(self, kind: Kind, step: int, values: Mapping[str, float]) -> None:
        """Add the finite values of one row."""

    def close(self) -> None:
        """Flush and close."""


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a `metrics.jsonl` without damaged lines and an incomplete last one; [] if there is none."""
    return _read(path)[0]


def _read(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the rows and the number of damaged lines."""
    if not path.exists():
        return [], 0
    lines = located(path).read().decode(errors="replace").split("\n")[:-1]
    rows = [row for row in map(_row, lines) if row is not None]
    return rows, len(lines) - len(rows)


def _row(line: str) -> dict[str, Any] | None:
    try:
        row: dict[str, Any] = json.loads(line)
        del row["checksum"]
        return row if _line(row) == line + "\n" else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


class MetricsLog:
    """Appends rows to a run's metrics; a context manager.

    Rows after `step`, where the run resumes, are dropped first; a new run gives -1. Where several processes train
    together, one is `primary` and writes; the others keep the same rows in memory. `damaged` is the number of damaged
    lines of an earlier part of the run, which are dropped. Raises StorageError if the disk is
    full.
    """

    def __init__(self, run: Path, *, step: int, primary: bool = True, boards: Sequence[Board] = ()) -> None:
        self.path = run / METRICS
        rows, self.damaged = _read(self.path)  # lines that are dropped
        kept = [row for row in rows if row["step"] <= step]
        self._rows = {(row["kind"], row["step"]): row for row in kept}
        self._primary, self._boards = primary, boards
        if primary:
            write_text(self.path, "".join(map(_line, kept)))
            self._file = open_appending(self.path)

    def write(self, kind: Kind, step: int, values: Mapping[str, float]) -> None:
        """Append one row; does nothing if there is a row of this kind and step."""
        if (kind, step) in self._rows:
            return
        row = {"kind": kind, "step": step, **{name: _finite(value) for name, value in values.items()}}
        self._rows[kind, step] = row
        if not self._primary:
            return
        with storage_errors(self.path):
            self._file.write(_line(row).encode())
            self._file.flush()
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        for board in self._boards:
            board.add_row(kind, step, finite)

    def find(self, kind: Kind, step: int) -> Mapping[str, Any] | None:
        """Return the row of this kind and step, or None."""
        return self._rows.get((kind, step))

    def last_step(self, kind: Kind) -> int | None:
        """Return the step of the last row of a kind, None if there is none."""
        return max((step for found, step in self._rows if found == kind), default=None)

    def rows(self, kind: Kind) -> list[dict[str, Any]]:
        """Return all rows of a kind in order of steps."""
        return [row for key, row in sorted(self._rows.items()) if key[0] == kind]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        with storage_errors(self.path), ExitStack() as stack:  # closes all, even if one cannot write its rest
            if self._primary:
                stack.callback(self._file.close)
            for board in self._boards:
                stack.callback(board.close)


def _line(row: Mapping[str, Any]) -> str:
    text = json.dumps(row, allow_nan=False)
    return json.dumps({**row, "checksum": checksum(text.encode())[:16]}, allow_nan=False) + "\n"


def _finite(value: float) -> float | None:
    """Return the value, or None (null in JSON) if it is NaN or infinite."""
    return value if math.isfinite(value) else None
