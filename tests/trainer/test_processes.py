"""Two processes of four devices each are one ring of eight: what several hosts do, on one machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.dataset import write_dataset
from tests.trainer.test_loop import S, config_of
from trainer.loop import train
from trainer.metrics import read_metrics

_PROCESS = """
import sys
from pathlib import Path
import jax
rank, port, dataset, out = sys.argv[1:]
jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=int(rank))
from schemas.errors import Interrupted
from tests.trainer.test_loop import config_of
from trainer.loop import train
try:
    train(config_of(Path(dataset), Path(out)))
except Interrupted as e:
    print(e)
"""


def _start(rank: int, port: int, dataset: Path, out: Path) -> subprocess.Popen[str]:
    arguments = [str(rank), str(port), str(dataset), str(out)]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "4", "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, "-c", _PROCESS, *arguments], env=environment, stdout=subprocess.PIPE, text=True
    )


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
    return port


def _losses(out: Path, last: int) -> list[tuple[str, int, float]]:
    rows: list[dict[str, Any]] = read_metrics(out / "metrics.jsonl")
    return [(row["kind"], row["step"], row["loss"]) for row in rows if row["step"] <= last]


def test_two_processes_train_as_one_and_a_signal_to_either_stops_both_after_the_same_step(tmp_path: Path) -> None:
    dataset, out = write_dataset(tmp_path / "set", context=S, train=10, val=5), tmp_path / "two"
    port = _free_port()
    processes = [_start(rank, port, dataset, out) for rank in (0, 1)]
    try:
        while all(p.poll() is None for p in processes) and len(read_metrics(out / "metrics.jsonl")) < 13:
            time.sleep(0.01)
        processes[1].send_signal(signal.SIGINT)
        said = [p.communicate()[0].splitlines()[-1:] for p in processes]
    finally:
        for p in processes:
            p.kill()
    assert said[0] == said[1]
    assert "stopped after step" in said[0][0]
    stopped = int(said[0][0].split("step ")[1].split(" of")[0])
    train(config_of(dataset, out, steps=stopped + 3))  # one process goes on from what two have saved
    train(config_of(dataset, tmp_path / "one", steps=stopped + 3))
    ours, theirs = (_losses(path, stopped + 3) for path in (out, tmp_path / "one"))
    assert [row[:2] for row in ours] == [row[:2] for row in theirs]
    assert [row[2] for row in ours] == pytest.approx([row[2] for row in theirs], rel=1e-3)
