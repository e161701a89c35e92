from __future__ import annotations

import json
import struct
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event

from schemas.runs import read_metrics
from trainer.run.metrics import MetricsLog


def _events(directory: Path) -> list[Event]:
    """Every event of every TensorBoard file: length, checksum, payload, checksum."""
    events = []
    for path in sorted(directory.glob("tensorboard/*"), key=lambda p: p.stat().st_mtime_ns):
        data = path.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            events.append(Event.FromString(data[12 : 12 + size]))
            data = data[16 + size :]
    return events


def _write(directory: Path, *, first: int, last: int, loss: float = 1.0) -> None:
    with MetricsLog(directory, step=first - 1) as log:
        for step in range(first, last + 1):
            log.write("train", step, {"loss": loss, "learning_rate": 0.5})


def test_every_line_is_on_disk_as_soon_as_it_is_written(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, step=0) as log:
        log.write("eval", 0, {"loss": 3.5})
        log.write("train", 1, {"loss": 3.25})
        assert read_metrics(tmp_path / "metrics.jsonl") == [
            {"kind": "eval", "step": 0, "loss": 3.5},
            {"kind": "train", "step": 1, "loss": 3.25},
        ]


def test_a_run_that_goes_on_writes_no_step_twice(tmp_path: Path) -> None:
    _write(tmp_path, first=1, last=7, loss=1.0)
    _write(tmp_path, first=5, last=9, loss=2.0)  # from the checkpoint of step 4
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 10))
    assert [row["loss"] for row in rows] == [1.0] * 4 + [2.0] * 5


def test_the_same_step_is_not_written_twice_in_one_run(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, step=0) as log:
        log.write("eval", 0, {"loss": 1.0})
        log.write("eval", 0, {"loss": 9.0})
        assert log.find("eval", 0) == {"kind": "eval", "step": 0, "loss": 1.0}
        assert log.find("train", 0) is None
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 1


def test_a_line_that_was_cut_by_a_crash_is_dropped(tmp_path: Path) -> None:
    _write(tmp_path, first=1, last=3)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    _write(tmp_path, first=4, last=4)
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 4]


def test_a_value_that_is_not_a_number_becomes_null(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, step=0) as log:
        log.write("train", 1, {"loss": 1.0, "vision_loss": float("nan")})
    text = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(text) == {"kind": "train", "step": 1, "loss": 1.0, "vision_loss": None}
    assert "NaN" not in text


def test_tensorboard_gets_the_same_values_and_is_told_what_to_forget(tmp_path: Path) -> None:
    _write(tmp_path, first=1, last=3, loss=1.5)
    _write(tmp_path, first=3, last=4, loss=2.5)
    events = _events(tmp_path)
    values = [(e.step, v.tag, v.simple_value) for e in events for v in e.summary.value if v.tag == "train/loss"]
    assert values == [(s, "train/loss", v) for s, v in ((1, 1.5), (2, 1.5), (3, 1.5), (3, 2.5), (4, 2.5))]
    assert [e.step for e in events if e.HasField("session_log")] == [1, 3]


def test_rows_come_back_in_order(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, step=0) as log:
        log.write("eval", 10, {"loss": 1.0})
        log.write("eval", 2, {"loss": 2.0})
        assert [row["step"] for row in log.rows("eval")] == [2, 10]
