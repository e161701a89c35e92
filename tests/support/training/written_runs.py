"""Folders as a training run leaves them, with metrics that were made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from schemas.runs.metrics import MetricsLog


def write_run(folder: Path, rows: list[dict[str, Any]], config: dict[str, Any] | None = None) -> Path:
    """Write a run with these rows, and two starts, of which the second one has the options `config`."""
    folder.mkdir()
    with MetricsLog(folder, step=-1) as log:
        for row in rows:
            log.write(row["kind"], row["step"], {key: row[key] for key in row if key not in ("kind", "step")})
    if config is not None:
        (folder / "config-from-0.json").write_text(json.dumps({"config": config | {"seed": 9}}))
        (folder / "config-from-12.json").write_text(json.dumps({"config": config}))
    return folder


def falling_losses(steps: int) -> list[dict[str, Any]]:
    """Return the rows of a run whose loss falls from 9 to 3, evaluated twice; one step has none."""
    rows: list[dict[str, Any]] = [{"kind": "eval", "step": 0, "loss": 9.0}]
    for step in range(1, steps + 1):
        loss = 9 - 6 * step / steps if step != 5 else float("nan")
        speed = {"useful_tokens": 100, "tokens_per_s": 50.0 + step, "step_s": 2.0, "compile_s": 6.0 * (step == 1)}
        rows.append({"kind": "train", "step": step, "loss": loss, **speed})
    return [*rows, {"kind": "eval", "step": steps, "loss": 3.0}]
