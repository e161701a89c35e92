from __future__ import annotations

from pathlib import Path

import numpy as np

from schemas.runs.tensorboard import TensorBoard
from tests.support.training.tensorboard_events import read_events


def write(run: Path, *, first: int, last: int, loss: float) -> None:
    board = TensorBoard(run, step=first - 1)
    for step in range(first, last + 1):
        board.add_row("train", step, {"loss": loss})
    board.close()


def test_scalars_of_a_resumed_run_are_written_again_and_the_earlier_ones_purged(tmp_path: Path) -> None:
    write(tmp_path, first=1, last=3, loss=1.5)
    write(tmp_path, first=3, last=4, loss=2.5)
    events = read_events(tmp_path)
    values = [(e.step, v.tag, v.simple_value) for e in events for v in e.summary.value]
    assert values == [(s, "train/loss", v) for s, v in ((1, 1.5), (2, 1.5), (3, 1.5), (3, 2.5), (4, 2.5))]
    assert [e.step for e in events if e.HasField("session_log")] == [1, 3]


def test_an_image_is_written_with_its_size(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path, step=0)
    board.add_image("reconstruction", np.zeros((4, 6, 3), np.uint8), 2)
    board.close()
    (value,) = [v for e in read_events(tmp_path) for v in e.summary.value]
    assert (value.tag, value.image.height, value.image.width) == ("reconstruction", 4, 6)
