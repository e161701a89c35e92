"""Two or more training runs next to each other: their results, their losses by step, and the options that differ."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import ConfigError, DatasetError
from schemas.runs.metrics import METRICS, read_metrics
from schemas.storage.location import located

_LAST = 0.1  # the share of the steps over which a training loss is averaged
_ROWS = 12  # of the losses by step
_IGNORED = ("out", "steps", "checkpoint_step", "allow_changed")  # options in which any two runs differ


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """The figures of one run; None for what it did not measure."""

    name: str
    steps: int
    tokens: int  # without padding, of the steps that metrics.jsonl has
    train_loss: float | None  # nats per target, mean of the last tenth of the steps
    eval_loss: float | None  # of the last evaluation
    best_eval_loss: float | None
    best_step: int | None
    tokens_per_s: float | None  # median over the steps
    hours: float  # of steps and compilation


def is_run(folder: Path) -> bool:
    """Return whether a folder is the output of `longreel train`."""
    return (located(folder) / METRICS).exists()


def read_run(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of the metrics of a run. Raises ConfigError if it has none."""
    rows = read_metrics(folder / METRICS)
    if not rows:
        raise ConfigError(f"{folder} has no metrics of `longreel train`: {METRICS} is missing or empty")
    return rows


def summarize_run(name: str, rows: Sequence[Mapping[str, Any]]) -> RunSummary:
    """Return the figures of a run from its rows."""
    train = [row for row in rows if row["kind"] == "train"]
    evaluated = [row for row in rows if row["kind"] == "eval" and row["loss"] is not None]
    best = min(evaluated, key=lambda row: row["loss"], default=None)
    speeds = [row["tokens_per_s"] for row in train if row.get("tokens_per_s")]
    seconds = sum((row.get("step_s") or 0) + (row.get("compile_s") or 0) for row in train)
    return RunSummary(
        name=name,
        steps=max((row["step"] for row in rows), default=0),
        tokens=round(sum(row.get("useful_tokens") or 0 for row in train)),
        train_loss=_mean(train[-max(1, round(len(train) * _LAST)) :]),
        eval_loss=evaluated[-1]["loss"] if evaluated else None,
        best_eval_loss=best["loss"] if best else None,
        best_step=best["step"] if best else None,
        tokens_per_s=statistics.median(speeds) if speeds else None,
        hours=seconds / 3600,
    )


def losses_by_step(runs: Sequence[Sequence[Mapping[str, Any]]]) -> list[tuple[int, list[float | None]]]:
    """Return the loss of every run at some steps: of evaluations where all runs have some, else of training.

    A training loss is the mean of the steps since the step of the row before. None: the run has no such step.
    """
    evaluated = [{row["step"]: row["loss"] for row in run if row["kind"] == "eval"} for run in runs]
    if all(evaluated):
        steps = _some(sorted(set().union(*evaluated)))
        return [(step, [losses.get(step) for losses in evaluated]) for step in steps]
    train = [[row for row in run if row["kind"] == "train"] for run in runs]
    steps = _some(sorted({row["step"] for run in train for row in run}))
    before = [0, *steps[:-1]]
    return [
        (step, [_mean([row for row in run if first < row["step"] <= step]) for run in train])
        for first, step in zip(before, steps, strict=True)
    ]


def different_options(folders: Sequence[Path]) -> list[tuple[str, list[str]]]:
    """Return the options in which runs differ, with the value of each run; "" for a run that does not have it."""
    options = [_options(folder) for folder in folders]
    names = sorted(set().union(*options))
    rows = [(name, [values.get(name, "") for values in options]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1 and name not in _IGNORED]


def _options(folder: Path) -> dict[str, str]:
    """Return the options of the newest start of a run by their names; none if its file is missing."""
    found = located(folder).list("config-from-*.json")
    starts = sorted(found, key=lambda place: int(place.name.removesuffix(".json").rpartition("-")[2]))
    if not starts:
        return {}
    try:
        config = json.loads(starts[-1].read())["config"]
    except (ValueError, KeyError, TypeError) as e:
        raise DatasetError(f"{starts[-1]} is damaged: {e}") from e
    return dict(_flat(config, ""))


def _flat(value: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, one in value.items():
        key = f"{prefix}{name}"
        found += _flat(one, f"{key}.") if isinstance(one, dict) else [(key, json.dumps(one))]
    return found


def _some(steps: list[int]) -> list[int]:
    """Return at most `_ROWS` of the steps, evenly spaced, with the last one."""
    count = min(_ROWS, len(steps))
    return [steps[(len(steps) * (n + 1)) // count - 1] for n in range(count)]


def _mean(rows: Sequence[Mapping[str, Any]]) -> float | None:
    losses = [row["loss"] for row in rows if row["loss"] is not None]
    return statistics.fmean(losses) if losses else None
