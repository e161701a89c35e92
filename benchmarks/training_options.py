"""Measures what the options for memory and precision cost: bytes, processor time of a step, and the loss reached.

    python benchmarks/training_options.py [--smoke] [--steps 500] [--only bfloat16 muon] [--out options.json]

One small model is trained from the same parameters on the same batches with each option. Documents count upwards
through the ids from a random start with a random stride and some noise, so the loss falls far and has a floor. Columns:

    state      bytes of the arguments of the compiled step: parameters, moments, average, batch
    temporary  bytes that XLA allocates for it on top, by its own analysis
    CPU        processor time of a step, median
    loss       mean of the last tenth of the steps, in nats; and its difference from float32, in per cent

On a CPU, XLA computes in float32 what is bfloat16, so times of bfloat16 say nothing about accelerators.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from benchmarks.support.vocabulary import vocabulary
from trainer.config import MeshConfig, ModelConfig
from trainer.data.loader import Batch
from trainer.mesh import batch_sharding, make_mesh
from trainer.model.registry import recipe
from trainer.run.optimizer import OptimizerConfig, make_optimizer, schedule
from trainer.run.state import Plan, new_state
from trainer.run.step import compile_step

VOCABULARY = vocabulary(text_size=256, codebook_size=64)
NOISE = 0.1  # share of random ids
BFLOAT16 = {"dtype": "bfloat16"}
STORED = {"state_dtype": "bfloat16", "param_dtype": "bfloat16"}
# Changes of the model's configuration, and of the optimizer's.
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "float32": ({}, {}),
    "bfloat16": (BFLOAT16, {}),
    "bfloat16, moments bfloat16": (BFLOAT16, {"state_dtype": "bfloat16"}),
    "bfloat16, moments and parameters bfloat16": (BFLOAT16, STORED),
    "moving average": ({}, {"ema_decay": 0.99}),
    "lion": ({}, {"name": "lion", "learning_rate": 3e-4, "weight_decay": 0.3}),
    "muon": ({}, {"name": "muon"}),
    "moments in host memory": ({}, {"offload": True}),
    "remat full": ({"remat": "full"}, {}),
    "remat projections": ({"remat": "projections"}, {}),
}


@dataclass(frozen=True)
class Options:
    """Measure the options of training."""

    steps: int = 500
    context: int = 128
    batch_size: int = 8
    only: tuple[str, ...] = ()  # names of variants, from their beginning; all without any
    smoke: bool = False  # two steps of two variants
    out: Path | None = None  # write the figures to this JSON file


def batches(options: Options) -> Iterator[dict[str, np.ndarray]]:
    """Yield batches [B,S] of one document per row."""
    rng, shape = np.random.default_rng(0), (options.batch_size, options.context)
    while True:
        start, stride = rng.integers(5, 256, (shape[0], 1)), rng.integers(1, 4, (shape[0], 1))
        ids = 5 + (start + stride * np.arange(shape[1] + 1)[None]) % 251
        ids = np.where(rng.random(ids.shape) < NOISE, rng.integers(5, 256, ids.shape), ids).astype(np.int32)
        yield {
            "tokens": ids[:, :-1],
            "targets": ids[:, 1:],
            "weights": np.ones(shape, np.float32),
            "segment_ids": np.ones(shape, np.int32),
            "positions": np.broadcast_to(np.arange(shape[1], dtype=np.int32), shape),
        }


def measure(model: ModelConfig, settings: OptimizerConfig, options: Options) -> dict[str, float]:
    """Train with one variant."""
    mesh = make_mesh(MeshConfig(sequence=1), devices=jax.devices()[:1])
    optimizer = make_optimizer(settings, steps=options.steps)
    plan = Plan.of(model, VOCABULARY, optimizer=optimizer, mesh=mesh, storage=settings)
    shape = (options.batch_size, options.context)
    step = compile_step(
        plan, optimizer, schedule(settings, steps=options.steps), shape=shape, ema_decay=settings.ema_decay
    )
    analysis: Any = step.memory_analysis()
    state = new_state(plan, model, VOCABULARY, optimizer=optimizer, seed=0)
    limit = jax.device_put(np.float32(np.inf), plan.replicated)
    losses, seconds, source = [], [], batches(options)
    for _ in range(options.steps):
        batch: Batch = {name: jax.device_put(x, batch_sharding(mesh)) for name, x in next(source).items()}
        started = time.process_time()
        state, metrics = step(state, batch, limit)
        losses.append(float(metrics.sums.mean))
        seconds.append(time.process_time() - started)
    return {
        "state": analysis.argument_size_in_bytes,
        "temporary": analysis.temp_size_in_bytes,
        "cpu_s": statistics.median(seconds),
        "loss": statistics.mean(losses[-max(1, options.steps // 10) :]),
    }


def main(options: Options) -> None:
    """Measure the variants, and print a table."""
    if options.smoke:
        options = dataclasses.replace(options, steps=2, only=("float32", "bfloat16, moments and"))
    results: dict[str, dict[str, float]] = {}
    print(f"{'':44}{'state':>10}{'temporary':>11}{'CPU':>10}{'loss':>9}")
    for name, (changes, settings) in VARIANTS.items():
        if options.only and not any(name.startswith(chosen) for chosen in options.only):
            continue
        model = dataclasses.replace(recipe("debug"), tile=64, chunk=64, max_positions=4096, **changes)
        row = measure(model, OptimizerConfig(**{"learning_rate": 3e-3, **settings}), options)
        results[name] = row
        base = results.get("float32", row)["loss"]
        print(
            f"{name:44}{row['state'] / 1e6:7.2f} MB{row['temporary'] / 1e6:8.2f} MB{row['cpu_s'] * 1e3:7.1f} ms"
            f"{row['loss']:9.4f} ({(row['loss'] / base - 1) * 100:+.2f} %)",
            flush=True,
        )
    if options.out is not None:
        options.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
