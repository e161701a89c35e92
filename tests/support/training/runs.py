"""Starts training runs through the public command, and reads what they computed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from schemas.runs.metrics import read_metrics
from trainer.run.arrays import ArrayReader

# Fields that depend on the clock or the machine. All others must be the same, bit for bit, in a run that was killed.
MEASURED = {"step_s", "data_wait_s", "compile_s", "tokens_per_s", "mfu", "peak_rss_bytes", "seconds"}


def train_command(
    dataset: Path | Sequence[str],
    out: Path,
    *options: str,
    devices: int,
    steps: int = 6,
    checkpoint_every: int = 2,
    eval_every: int = 0,
) -> list[str]:
    """Return a small run; its losses do not depend on how the devices are divided among processes."""
    datasets = [str(dataset)] if isinstance(dataset, Path) else dataset
    run = ["--dataset", *datasets, "--out", str(out), "--steps", str(steps), "--devices", str(devices)]
    model = ["--model.recipe", "debug", "--batch-size", "4", "--optimizer.warmup-steps", "0"]
    schedule = ["--optimizer.schedule", "constant"]
    cadence = ["--eval-every", str(eval_every), "--checkpoint-every", str(checkpoint_every)]
    return [sys.executable, "-P", "-m", "longreel", "train", *run, *model, *schedule, *cadence, *options]


def run_environment(**variables: str) -> dict[str, str]:
    """Return the environment of a process that chooses its own devices."""
    return {k: v for k, v in os.environ.items() if k not in ("JAX_NUM_CPU_DEVICES", "JAX_PLATFORMS")} | variables


def losses(out: Path) -> list[float]:
    """Return the loss of each step."""
    return [row["loss"] for row in read_metrics(out / "metrics.jsonl") if row["kind"] == "train"]


def computed_rows(out: Path) -> list[dict[str, Any]]:
    """Return the rows of the metrics without what was measured with a clock, in order of steps."""
    rows = read_metrics(out / "metrics.jsonl")
    computed = [{name: value for name, value in row.items() if name not in MEASURED} for row in rows]
    return sorted(computed, key=lambda row: (row["step"], row["kind"]))


def final_state(out: Path) -> dict[str, NDArray[Any]]:
    """Return the parameters and the optimizer's state of the newest checkpoint by name."""
    newest = max((out / "checkpoints").iterdir(), key=lambda path: int(path.name) if path.name.isdecimal() else -1)
    found = {}
    for item in ("params", "optimizer"):
        folder = newest / item
        described = json.loads((folder / "_METADATA").read_text())["tree_metadata"]
        reader = ArrayReader(folder)
        for name in sorted(entry["key_metadata"][0]["key"] for entry in described.values()):
            found[f"{item}/{name}"] = reader.read(name, (...,))
    return found
