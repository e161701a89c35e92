from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from schemas.runs.metrics import MetricsLog, read_metrics
from tests.support.bit_flips import flips


class Recorder:
    """A board that keeps what it receives."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, int, Mapping[str, float]]] = []
        self.closed = False

    def add_row(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        self.rows.append((kind, step, values))

    def close(self) -> None:
        self.closed = True


def write(run: Path, *, first: int, last: int, loss: float = 1.0) -> None:
    with MetricsLog(run, step=first - 1) as log:
        for step in range(first, last + 1):
            log.write("train", step, {"loss": loss, "learning_rate": 0.5})


def test_every_row_is_on_disk_as_soon_as_it_is_written(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, step=0) as log:
        log.write("eval", 0, {"loss": 3.5})
        log.write("train", 1, {"loss": 3.25})
        assert read_metrics(tmp_path / "metrics.jsonl") == [
            {"kind": "eval", "step": 0, "loss": 3.5},
            {"kind": "train", "step": 1, "loss": 3.25},
        ]


def test_a_resumed_run_replaces_the_rows_after_its_checkpoint(tmp_path: Path) -> None:
    write(tmp_path, first=1, last=7, loss=1.0)
    write(tmp_path, first=5, last=9, loss=2.0)  # resumes from the checkpoint of step 4
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 10))
    assert [row["loss"] for row in rows] == [1.0] * 4 + [2.0] * 5


def test_a_step_is_written_once_per_run(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, step=0) as log:
        log.write("eval", 0, {"loss": 1.0})
        log.write("eval", 0, {"loss": 9.0})
        assert log.find("eval", 0) == {"kind": "eval", "step": 0, "loss": 1.0}
        assert log.find("train", 0) is None
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 1


def test_a_line_truncated_by_a_crash_is_dropped(tmp_path: Path) -> None:
    write(tmp_path, first=1, last=3)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    write(tmp_path, first=4, last=4)
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 4]


def test_a_damaged_line_is_dropped_and_counted(tmp_path: Path) -> None:
    write(tmp_path, first=1, last=3)
    path = tmp_path / "metrics.jsonl"
    rows = read_metrics(path)
    for _ in flips(path, 200):
        assert read_metrics(path) in [rows[:n] + rows[n + 1 :] for n in range(3)] + [[rows[0]], [rows[2]]]
    path.write_text(path.read_text().replace('"step": 2', '"step": 7') + "[" * 100_000 + "\n")
    with MetricsLog(tmp_path, step=3) as log:
        assert log.damaged == 2
        assert [row["step"] for row in log.rows("train")] == [1, 3]
    assert read_metrics(path) == [rows[0], rows[2]]


def test_a_value_that_is_not_finite_becomes_null(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, step=0) as log:
        log.write("train", 1, {"loss": 1.0, "vision_loss": float("nan")})
    text = (tmp_path / "metrics.jsonl").read_text()
    row = json.loads(text)
    del row["checksum"]
    assert row == {"kind": "train", "step": 1, "loss": 1.0, "vision_loss": None}
    assert "NaN" not in text


def test_boards_receive_the_finite_values_and_are_closed(tmp_path: Path) -> None:
    boards = [Recorder(), Recorder()]
    with MetricsLog(tmp_path, step=0, boards=boards) as log:
        log.write("train", 1, {"loss": 1.5, "text_loss": float("nan")})
        log.write("train", 1, {"loss": 9.0})
        log.write("eval", 1, {"loss": 2.5})
        assert log.last_step("eval") == 1
    assert all(board.rows == [("train", 1, {"loss": 1.5}), ("eval", 1, {"loss": 2.5})] for board in boards)
    assert all(board.closed for board in boards)


def test_a_process_that_is_not_primary_keeps_rows_and_writes_nothing(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, step=0, primary=False) as log:
        log.write("train", 1, {"loss": 1.5})
        assert log.find("train", 1) == {"kind": "train", "step": 1, "loss": 1.5}
    assert list(tmp_path.iterdir()) == []


def test_rows_are_in_order_of_steps(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, step=0) as log:
        log.write("eval", 10, {"loss": 1.0})
        log.write("eval", 2, {"loss": 2.0})
        assert [row["step"] for row in log.rows("eval")] == [2, 10]
