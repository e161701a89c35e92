"""Measures a whole training step: its share of a matrix product's speed, and how its memory grows with the context.

    python benchmarks/step.py [--smoke] [--contexts 4096 16384 65536 262144] [--devices 1] [--out step.json]

One step of `small` (forward, backward, update) on one sequence over a ring of 8 virtual CPU devices, by context: tokens
per second, model FLOP utilization (the operations that a step needs by PaLM's count, attention only within documents,
divided by the speed of a plain float32 product in the same process), the same by processor instead of wall-clock time,
which other load on the machine disturbs less, and memory. The sequence is packed with documents
of about 1,000 tokens. Each context runs in its own process, so that its peak memory is its own.

Memory: `peak` is the largest resident size of the process; `program` is what the compiled step allocates on all devices
(XLA's buffer assignment), also as bytes per token; `planned` is what `longreel plan-training` expects of it; `kept` is
the part that the layers keep for the backward pass: layers x ((dim + heads x head_dim) x bytes + heads x 4) bytes per
token. The rest is the backward pass of one layer: in XLA's buffer assignment, eleven arrays as large as the queries,
thirteen as large as the keys (the ring holds keys, values and the sums of their gradients twice: the local copy and the
one in transfer), cosines and sines. For `small` that is 4,160 + 11 x 512 + 13 x 256 + 256 = 13,376 bytes per token,
which is the slope between 256K and 1M. Weights and the logits of one chunk per device do not grow with the context.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.support.vocabulary import vocabulary
from trainer.config import MeshConfig
from trainer.cpu_devices import use_cpu_devices
from trainer.data.loader import Placement
from trainer.mesh import make_mesh
from trainer.model.llama.config import LlamaConfig, debug, small
from trainer.model.llama.costs import flops_per_token
from trainer.planning.plan import TrainingPlan, Workload
from trainer.run.optimizer import OptimizerConfig, make_optimizer, schedule
from trainer.run.state import Plan, new_state
from trainer.run.step import compile_step

DOCUMENT = 1000
VOCABULARY = vocabulary(text_size=2048, codebook_size=1024)


def packed(length: int) -> tuple[dict[str, np.ndarray], float]:
    """Return a batch of one sequence of documents of DOCUMENT/2 to 3 DOCUMENT/2 tokens, and the mean keys per token."""
    rng, lengths = np.random.default_rng(0), []
    while sum(lengths) < length:
        lengths.append(int(rng.integers(DOCUMENT // 2, DOCUMENT * 3 // 2)))
    lengths[-1] -= sum(lengths) - length
    positions = np.concatenate([np.arange(n) for n in lengths])
    tokens = rng.integers(0, VOCABULARY.size, length)
    batch = {
        "tokens": tokens,
        "targets": np.roll(tokens, -1),
        "segment_ids": np.repeat(np.arange(1, len(lengths) + 1), lengths),
        "positions": positions,
    }
    arrays = {name: x.astype(np.int32)[None] for name, x in batch.items()}
    return arrays | {"weights": np.ones((1, length), np.float32)}, float((positions + 1).mean())


class Taken(NamedTuple):
    """Least seconds of several runs."""

    wall: float
    processor: float

    @classmethod
    def by(cls, run: Callable[[], Any], repeats: int) -> Taken:
        """Return the times of `run`, after a warm-up run."""
        jax.block_until_ready(run())
        times = []
        for _ in range(repeats):
            started, spent = time.perf_counter(), time.process_time()
            jax.block_until_ready(run())
            times.append((time.perf_counter() - started, time.process_time() - spent))
        return cls(*map(min, zip(*times, strict=True)))


def product_s(size: int = 2048) -> tuple[Taken, float]:
    """Return the times of a square float32 product, and its operations."""
    a = jnp.ones((size, size), jnp.float32)
    product = jax.jit(jnp.matmul)
    return Taken.by(lambda: product(a, a), 5), 2.0 * size**3


def kept_bytes_per_token(config: LlamaConfig) -> int:
    """Return the bytes per token that layers keep for the backward pass: stream, attention's output, log-sum-exp."""
    size = jnp.dtype(config.dtype).itemsize
    return config.layers * ((config.dim + config.heads * config.head_dim) * size + config.heads * 4)


def measure(context: int, repeats: int, config: LlamaConfig, *, devices: int) -> dict[str, Any]:
    """Return the figures of one context."""
    use_cpu_devices(devices)
    mesh, steps = make_mesh(MeshConfig()), 100
    about = OptimizerConfig()
    optimizer = make_optimizer(about, steps=steps)
    plan = Plan.of(config, VOCABULARY, optimizer=optimizer, mesh=mesh)
    step = compile_step(plan, optimizer, schedule(about, steps=steps), shape=(1, context))
    state = new_state(plan, config, VOCABULARY, optimizer=optimizer, seed=0)
    placement = Placement.of(mesh, (1, context), layout="block_cyclic", tile=config.tile)
    arrays, mean_span = packed(context)
    batch = placement.place({name: x[:, placement.order] for name, x in arrays.items()})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    product, product_flops = product_s()

    no_limit = jnp.float32(jnp.inf)  # of the gradient's norm

    def one() -> Any:
        nonlocal state
        state, metrics = step(state, batch, no_limit)
        return state, metrics

    taken = Taken.by(one, repeats)
    sizes = {"text_size": VOCABULARY.text_size, "vision_size": VOCABULARY.vision_size}
    flops = context * flops_per_token(config, **sizes, mean_span=mean_span)
    program = step.memory_analysis().temp_size_in_bytes * devices
    planned = TrainingPlan.of(config, mesh.shape, Workload(context=context, batch_size=1, **sizes)).memory
    return {
        "context": context,
        "step_s": taken.wall,
        "tokens_per_s": context / taken.wall,
        "matmul_gflops": product_flops / product.wall / 1e9,
        "mfu": flops / taken.wall / (product_flops / product.wall),
        "mfu_by_processor_time": flops / taken.processor / (product_flops / product.processor),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "before_bytes": before,
        "program_bytes": program,
        "program_bytes_per_token": program / context,
        "planned_bytes": planned.temporary * devices,
        "kept_bytes_per_token": kept_bytes_per_token(config),
    }


def measure_in_process(context: int, repeats: int, *, devices: int, smoke: bool) -> dict[str, Any]:
    numbers = {"--one": context, "--repeats": repeats, "--devices": devices}
    command = [sys.executable, __file__, *(str(x) for pair in numbers.items() for x in pair), *["--smoke"] * smoke]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    made: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contexts", type=int, nargs="+", default=[4096, 16384, 65536, 262144])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--smoke", action="store_true", help="a tiny model at one context, in less than a minute")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        config = debug() if options.smoke else small()
        print(json.dumps(measure(options.one, options.repeats, config, devices=options.devices)))
        return
    if options.smoke:
        options.contexts, options.repeats = [1024], 1
    model = "debug" if options.smoke else "small"
    print(f"a step of {model}, {options.devices} virtual devices, documents of about {DOCUMENT:,}")
    print(f"best of {options.repeats}\n")
    columns = (
        "context",
        "seconds",
        "tokens/s",
        "matmul GFLOP/s",
        "MFU",
        "by CPU time",
        "peak GB",
        "program GB",
        "planned GB",
        "B/token",
        "kept",
    )
    print("".join(f"{name:>15}" for name in columns))
    rows = []
    for context in options.contexts:
        r = measure_in_process(context, options.repeats, devices=options.devices, smoke=options.smoke)
        rows.append(r)
        shown = (
            f"{context:,}",
            f"{r['step_s']:.2f}",
            f"{r['tokens_per_s']:,.0f}",
            f"{r['matmul_gflops']:.0f}",
            f"{r['mfu']:.0%}",
            f"{r['mfu_by_processor_time']:.0%}",
            f"{r['peak_bytes'] / 1e9:.2f}",
            f"{r['program_bytes'] / 1e9:.2f}",
            f"{r['planned_bytes'] / 1e9:.2f}",
            f"{r['program_bytes_per_token']:,.0f}",
            f"{r['kept_bytes_per_token']:,.0f}",
        )
        print("".join(f"{value:>15}" for value in shown), flush=True)
    if len(rows) > 1:
        first, last = rows[0], rows[-1]
        slope = (last["peak_bytes"] - first["peak_bytes"]) / (last["context"] - first["context"])
        print(f"\npeak memory grows by {slope:,.0f} bytes per token between the first and the last context")
    if options.out:
        options.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
