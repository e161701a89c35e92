"""Training runs in the report: the loss curve of each as a small SVG plot, and pictures that the model generated."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import ConfigError
from schemas.runs.metrics import METRICS, read_metrics
from schemas.storage.location import located

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 400.0, 200.0, 44.0, 8.0, 12.0, 28.0  # of the plot, in pixels
_POINTS = 300  # of a curve; more steps are averaged
_MAX_PICTURE = 4_000_000  # bytes
_MEDIA = {".png": "image/png", ".webp": "image/webp", ".gif": "image/gif", ".jpg": "image/jpeg"}


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One curve in pixels, as the points of an SVG polyline."""

    label: str
    css: str
    points: str
    last: str


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """A run as the page shows it."""

    name: str
    steps: int
    curves: tuple[Curve, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


def read_training(run: Path) -> TrainingRun:
    """Return the loss curves of a run. Raises ConfigError if it has no metrics with a loss."""
    rows = [row for row in read_metrics(run / METRICS) if row.get("loss") is not None]
    if not rows:
        raise ConfigError(f"{run} has no losses: {METRICS} is missing or empty")
    train, evaluated = ([row for row in rows if row["kind"] == kind] for kind in ("train", "eval"))
    series = [("training", "train", _averaged(train)), ("held out", "eval", _pairs(evaluated))]
    shown = [(label, css, pairs) for label, css, pairs in series if pairs]
    last = max(row["step"] for row in rows)
    losses = [loss for _, _, pairs in shown for _, loss in pairs]
    low, high = min(losses), max(max(losses), min(losses) + 1e-6)
    return TrainingRun(
        name=run.resolve().name,
        steps=last,
        curves=tuple(
            Curve(
                label=label,
                css=css,
                points=" ".join(f"{_x(step, last)},{_y(loss, low, high)}" for step, loss in pairs),
                last=f"{pairs[-1][1]:.3f}",
            )
            for label, css, pairs in shown
        ),
        x_ticks=tuple((_x(last * n // 4, last), f"{last * n // 4:,}") for n in range(5)),
        y_ticks=tuple((_y(loss, low, high), f"{loss:.2f}") for loss in (low, (low + high) / 2, high)),
    )


def picture_uri(path: Path) -> str:
    """Return a generated picture as a data URI. Raises ConfigError if it is no picture or too large."""
    kind = _MEDIA.get(path.suffix.lower())
    if kind is None:
        raise ConfigError(f"{path} is no picture: give one of {', '.join(_MEDIA)}")
    data = located(path).read()
    if len(data) > _MAX_PICTURE:
        raise ConfigError(f"{path} has {len(data):,} bytes, more than {_MAX_PICTURE:,}: the page would be slow to open")
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _pairs(rows: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    return [(row["step"], row["loss"]) for row in rows]


def _averaged(rows: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    """Return step and loss, of groups of steps if there are many."""
    size = -(-len(rows) // _POINTS) or 1
    groups = [rows[n : n + size] for n in range(0, len(rows), size)]
    return [(group[-1]["step"], sum(row["loss"] for row in group) / len(group)) for group in groups]


def _x(step: float, last: int) -> float:
    return round(LEFT + step / max(last, 1) * (WIDTH - LEFT - RIGHT), 1)


def _y(loss: float, low: float, high: float) -> float:
    return round(TOP + (high - loss) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)
