"""Measures what a training step gains when its batch is placed on the devices while the step before computes.

    python benchmarks/transfer_ahead.py [--smoke] [--steps 40] [--rows 8] [--context 4096]

Blocks of steps alternate in one process: in one, `DeviceBatches` places the next batch ahead, as in training; in the
other, each step places its own. The model is `debug` on 8 virtual CPU devices, whose "transfer" is a copy within the
memory, and which compute on the same cores. So this shows that the wait is hidden and that nothing is lost, not what an
accelerator gains. Columns: the time a step waits for its batch and the time of the whole step, medians, wall time.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")  # read when JAX is first used

import jax
import numpy as np
import tyro

from benchmarks.support.vocabulary import vocabulary
from trainer.config import MeshConfig
from trainer.cpu_devices import use_cpu_devices
from trainer.data.device_batches import DeviceBatches
from trainer.data.loader import BATCH_TYPES, Batch, Placement, training_batches
from trainer.mesh import make_mesh
from trainer.model.registry import recipe
from trainer.run.optimizer import OptimizerConfig, make_optimizer, schedule
from trainer.run.state import Plan, new_state
from trainer.run.step import compile_step

VOCABULARY = vocabulary(text_size=256, codebook_size=64)
BLOCK = 10  # steps; the first one of a block is not counted
Measured = list[tuple[float, float]]  # waits and steps, in seconds


@dataclass(frozen=True)
class Options:
    """Measure the transfer ahead."""

    steps: int = 40  # of each kind
    rows: int = 8
    context: int = 4096
    smoke: bool = False


def load(shape: tuple[int, int]) -> Batch:
    """Return one batch [B,S] of one document per row."""
    ids = np.arange(shape[0] * shape[1]).reshape(shape) % 251
    ones = {name: np.ones(shape, dtype) for name, dtype in BATCH_TYPES.items()}
    return ones | {
        "tokens": ids.astype(np.int32),
        "positions": np.tile(np.arange(shape[1], dtype=np.int32), (shape[0], 1)),
    }


def blocks(placement: Placement) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the two ways to get a batch in turn, for ever."""
    source = training_batches(lambda _: load(placement.shape), lambda number: np.array([number]))
    while True:
        yield "alone", lambda: placement.place(next(source))
        fresh = training_batches(lambda _: load(placement.shape), lambda number: np.array([number]))
        with closing(DeviceBatches(fresh, {placement.shape[0]: placement})) as ahead:
            yield "ahead", ahead.next


def main(options: Options) -> None:
    """Measure both, and print a table."""
    if options.smoke:
        options = replace(options, steps=BLOCK, rows=1, context=256)
    use_cpu_devices(int(os.environ["JAX_NUM_CPU_DEVICES"]))  # raises XLA's limits of time
    mesh = make_mesh(MeshConfig())
    model, settings, shape = recipe("debug"), OptimizerConfig(), (options.rows, options.context)
    optimizer = make_optimizer(settings, steps=1000)
    plan = Plan.of(model, VOCABULARY, optimizer=optimizer, mesh=mesh)
    step = compile_step(plan, optimizer, schedule(settings, steps=1000), shape=shape)
    state = new_state(plan, model, VOCABULARY, optimizer=optimizer, seed=0)
    limit = jax.device_put(np.float32(np.inf), plan.replicated)
    placement = Placement.of(mesh, shape, layout="block_cyclic", tile=model.tile)
    measured: dict[str, Measured] = {"alone": [], "ahead": []}
    for kind, take in blocks(placement):
        for number in range(BLOCK):
            started = time.perf_counter()
            batch = take()
            waited = time.perf_counter() - started
            state, metrics = step(state, batch, limit)
            jax.block_until_ready(metrics)
            if number:
                measured[kind].append((waited, time.perf_counter() - started))
        if len(measured["ahead"]) >= options.steps - 1:
            break
    for kind, rows in measured.items():
        waits, steps = (statistics.median(column) * 1e3 for column in zip(*rows, strict=True))
        print(f"{kind}: waits {waits:7.2f} ms, step {steps:8.1f} ms, {len(rows)} steps")


if __name__ == "__main__":
    main(tyro.cli(Options))
