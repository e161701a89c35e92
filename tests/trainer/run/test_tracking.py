from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigError
from schemas.runs.tensorboard import TensorBoard
from trainer.run.tracking import Tracking, open_boards


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"profile_steps": "3"}, "profile_steps must be FIRST:LAST"),
        ({"peak_flops": 0.0}, "peak_flops must be positive"),
        ({"peak_flops": float("nan")}, "peak_flops must be positive"),
        ({"wandb_project": ""}, "wandb_project must not be empty"),
    ],
)
def test_invalid_options_are_rejected(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Tracking(**changes)


def test_tensorboard_is_always_open(tmp_path: Path) -> None:
    (board,) = open_boards(Tracking(), tmp_path, step=0)
    board.close()
    assert isinstance(board, TensorBoard)
