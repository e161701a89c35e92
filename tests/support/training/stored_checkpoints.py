"""Writes folders that look like those of runs with checkpoints, without training anything."""

from __future__ import annotations

import json
from pathlib import Path

from schemas.runs.checkpoint_files import CHECKPOINTS, ITEMS
from schemas.runs.checksums import write_checksums

_HOUR_NS = 3600 * 10**9


def write_checkpoint(run: Path, step: int, *, size: int = 1000, hour: int = 0) -> Path:
    """Write a checkpoint with arrays of `size` bytes, and metrics up to its step; return its folder."""
    folder = run / CHECKPOINTS / str(step)
    for item in ("params", "optimizer"):
        (folder / item / "d").mkdir(parents=True)
        (folder / item / "d" / "values").write_bytes(step.to_bytes(4, "little") * (size // 4))
    for item in ("position", "description"):
        (folder / item).mkdir()
        (folder / item / "metadata").write_text(json.dumps({"step": step}))
    times = {"commit_timestamp_nsecs": (1 + hour) * _HOUR_NS}
    (folder / "_CHECKPOINT_METADATA").write_text(json.dumps(times))
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"kind": "train", "step": step}) + "\n")
    write_checksums(folder, ITEMS)
    return folder
