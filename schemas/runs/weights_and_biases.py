"""The metrics of a run in Weights & Biases; `wandb/` in its output folder keeps its number and what is not sent yet.

Where the metrics go (the server, a user, this machine only) is decided by the environment variables and settings of
Weights & Biases itself, for example WANDB_MODE=offline. A run that resumes continues the same curves: rows that it
writes again have the same values of `step`, over which all curves are drawn.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.errors import ConfigError, storage_errors
from schemas.files import write_text

_FOLDER, _ID = "wandb", "longreel-run-id"


class WeightsAndBiases:
    """Sends the rows of a run; raises ConfigError if the package is missing or the run cannot be opened."""

    def __init__(self, out: Path, *, project: str) -> None:
        try:
            import wandb
        except ImportError as e:
            raise ConfigError(
                "wandb_project needs the package wandb: install it with pip install 'longreel[wandb]', or leave the "
                "option out"
            ) from e
        try:
            self._run: Any = wandb.init(
                project=project,
                name=out.absolute().name,
                id=_run_id(out),
                resume="allow",
                dir=str(out),
                settings=wandb.Settings(silent=True, console="off", disable_git=True),
            )
        except (wandb.Error, OSError) as e:
            raise ConfigError(
                f"Weights & Biases cannot open a run in {project!r} ({e}): set WANDB_API_KEY, or WANDB_MODE=offline"
            ) from e
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def add_row(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Send the values of a row under the names KIND/NAME."""
        self._run.log({"step": step} | {f"{kind}/{name}": value for name, value in values.items()})

    def close(self) -> None:
        """Send what is left, and end the run."""
        self._run.finish()


def _run_id(out: Path) -> str:
    """Return the identifier of the run in `out`, a new one at its first start."""
    path = out / _FOLDER / _ID
    with storage_errors(path):
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, uuid.uuid4().hex[:16])
        return path.read_text()
