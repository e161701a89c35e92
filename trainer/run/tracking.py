"""What a run records besides its metrics: options, and the boards that display the metrics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from schemas.errors import ConfigError
from schemas.runs.metrics import Board
from schemas.runs.tensorboard import TensorBoard
from schemas.runs.weights_and_biases import WeightsAndBiases
from trainer.run.profile import step_range


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """What a run records besides its metrics."""

    profile_steps: str | None = None
    """First and last step to profile, such as 10:12. Writes OUT/profile/, which XProf and Perfetto display."""
    peak_flops: float | None = None
    """Peak speed of one device in bfloat16, in FLOP/s, for the MFU. Default: that of the device, if it is a known TPU
    or GPU; without it, the MFU is not logged."""
    wandb_project: str | None = None
    """Project of Weights & Biases to which the metrics are sent, too. Needs the extra `wandb` and WANDB_API_KEY, or
    WANDB_MODE=offline."""

    def __post_init__(self) -> None:
        if self.profile_steps is not None:
            step_range(self.profile_steps)
        if self.peak_flops is not None and not self.peak_flops > 0:
            raise ConfigError(f"peak_flops must be positive, got {self.peak_flops}")
        if self.wandb_project == "":
            raise ConfigError("wandb_project must not be empty")


def open_boards(config: Tracking, out: Path, *, step: int) -> list[Board]:
    """Open TensorBoard, and Weights & Biases if it has a project, for a run that resumes after `step`."""
    boards: list[Board] = [TensorBoard(out, step=step)]
    if config.wandb_project is not None:
        boards.append(WeightsAndBiases(out, project=config.wandb_project))
    return boards
