"""Two processes of four devices each are one ring of eight: what several hosts do, on one machine."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.runs.metrics import read_metrics
from schemas.storage.location import located
from tests.support.stored_files import index_of
from tests.support.training.training_dataset import VOCABULARY, write_dataset
from tests.trainer.run.test_loop import S, config_of
from trainer.config import MeshConfig
from trainer.data.loader import Placement
from trainer.data.mixture import WeightedDataset
from trainer.mesh import make_mesh
from trainer.model.llama.config import debug
from trainer.run.config import Cadence, TrainConfig
from trainer.run.group.launcher import free_port
from trainer.run.group.processes import any_process
from trainer.run.loop import train
from trainer.run.state import load_model

pytestmark = pytest.mark.slow

PROCESSES = 2
SEQUENCES = {"3": 3, "7": 7}  # of the datasets of a mixture with weights of 0.3 and 0.7, by name
HEADERS = 512 + 128  # of the tar member and of the array, before a sample's tokens

_PROCESS = """
import json, os, sys
from pathlib import Path
rank, count, port, dataset, out, steps = sys.argv[1:]
import jax
if int(count) > 1:
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=int(count), process_id=int(rank))
from schemas.errors import Interrupted
from tests.trainer.run.group.test_processes import _config
from trainer.run.group.launcher import free_port
from trainer.run.loop import train
read, pread = set(), os.pread
def counted(fd, size, start):
    read.add((os.readlink(f"/proc/self/fd/{fd}"), start, start + size))
    return pread(fd, size, start)
os.pread = counted
try:
    train(_config(Path(dataset), Path(out), steps=int(steps)))
except Interrupted as e:
    print(e)
print(json.dumps(sorted(read)))
"""


def _start(rank: int, dataset: Path, out: Path, *, count: int, port: int, steps: int = 40) -> subprocess.Popen[str]:
    devices = 4 if count > 1 else 2
    arguments = [str(x) for x in (rank, count, port, dataset, out, steps)]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, "-c", _PROCESS, *arguments], env=environment, stdout=subprocess.PIPE, text=True
    )


def _losses(out: Path, last: int) -> list[tuple[str, int, float]]:
    rows: list[dict[str, Any]] = read_metrics(out / "metrics.jsonl")
    return [(row["kind"], row["step"], row["loss"]) for row in rows if row["step"] <= last]


def _tokens_of(rank: int) -> NDArray[np.bool_]:
    """Which tokens of a row this process' devices hold, or need as targets."""
    mesh = make_mesh(MeshConfig())
    order = Placement.of(mesh, (1, S), layout="block_cyclic", tile=debug().tile).order
    places = order.reshape(PROCESSES, -1)[rank]
    needed = np.zeros(S + 1, np.bool_)
    needed[places] = needed[places + 1] = True
    return needed[:S]


def _config(datasets: Path, out: Path, *, steps: int) -> TrainConfig:
    parts = tuple(WeightedDataset(located(datasets / name), Fraction(f"0.{name}")) for name in SEQUENCES)
    return replace(config_of(datasets, out, steps=steps, cadence=Cadence(eval_every=0)), dataset=parts)


def _tokens_read(datasets: Path, read: list[tuple[str, int, int]]) -> dict[int, NDArray[np.bool_]]:
    """Return which tokens were read of every sample of which any were, by where the sample begins.

    The first time, a sample is read whole and checked; this read is left out. Later, the first read of a sample is for
    its headers; it takes a few of the tokens behind them with it.
    """
    shards = ((folder, shard) for folder in datasets.iterdir() for shard in index_of(folder))
    places = {(str(folder / s.url), *place) for folder, s in shards for place in itertools.pairwise(s.offsets)}
    assert places <= set(read)
    size, samples = VOCABULARY.dtype.itemsize, {}
    for path, at, _ in sorted(places):
        tokens = np.zeros(S, np.bool_)
        first = at + HEADERS
        for _, start, end in (r for r in read if r[0] == path and first <= r[1] < first + S * size):
            tokens[(start - first) // size : (end - first) // size] = True
        if tokens.any():
            samples[hash((path, at))] = tokens
    return samples


def _assert_restored_alike(run: Path) -> None:
    """The same parameters come back on eight devices and on two."""
    eight, two = (load_model(run, mesh=make_mesh(MeshConfig(), devices=jax.devices()[:n]))[0] for n in (8, 2))
    for a, b in zip(*(jax.tree.leaves(jax.device_get(model)) for model in (eight, two)), strict=True):
        assert np.array_equal(a, b)


def test_a_single_process_decides_alone() -> None:
    assert any_process(True) is True
    assert any_process(False) is False


@pytest.mark.parametrize("pair", [False, pytest.param(True, marks=pytest.mark.campaign)])
def test_two_processes_check_sequences_once_read_only_their_tokens_stop_together_and_save_a_checkpoint_for_any_mesh(
    pair: bool, tmp_path: Path
) -> None:
    """The checkpoint is resumed by one process of eight devices and, as a `pair`, by one of two."""
    dataset, out = tmp_path / "sets", tmp_path / "two"
    for name, count in SEQUENCES.items():
        write_dataset(dataset / name, context=S, train=count, val=0, seed=count)
    port = free_port()
    processes = [_start(rank, dataset, out, count=PROCESSES, port=port) for rank in range(PROCESSES)]
    try:
        while all(p.poll() is None for p in processes) and len(read_metrics(out / "metrics.jsonl")) < 6:
            time.sleep(0.01)
        processes[1].send_signal(signal.SIGINT)
        said = [p.communicate()[0].splitlines()[-2:] for p in processes]
    finally:
        for p in processes:
            p.kill()
    assert said[0][0] == said[1][0]
    assert "stopped after step" in said[0][0]
    stopped = int(said[0][0].split("step ")[1].split(" of")[0])

    for rank in range(PROCESSES):
        samples = _tokens_read(dataset, [tuple(r) for r in json.loads(said[rank][1])])
        assert len(samples) == 10
        for tokens in samples.values():
            assert np.array_equal(tokens, _tokens_of(rank))

    _assert_restored_alike(out)
    last, runs = stopped + 2, {out: 1e-6}
    if pair:
        shutil.copytree(out, tmp_path / "pair")
        with _start(0, dataset, tmp_path / "pair", count=1, port=0, steps=last) as resumed:
            resumed.communicate()
        assert resumed.returncode == 0
        runs[tmp_path / "pair"] = 1e-4
    train(_config(dataset, out, steps=last))
    train(_config(dataset, tmp_path / "one", steps=last))
    expected = _losses(tmp_path / "one", last)
    for run, tolerance in runs.items():
        ours = _losses(run, last)
        assert [row[:2] for row in ours] == [row[:2] for row in expected]
        assert [row[2] for row in ours] == pytest.approx([row[2] for row in expected], rel=tolerance)
    for row in read_metrics(tmp_path / "one" / "metrics.jsonl"):
        assert row["epoch_1"] * 3 == pytest.approx(0.3 * 4 * row["step"], abs=0.5)
        assert row["epoch_2"] * 7 == pytest.approx(0.7 * 4 * row["step"], abs=0.5)
