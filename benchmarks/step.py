"""Claim: a whole step reaches a good part of a matrix product's speed, in memory that grows with the context alone.

One step of `small` (forward, backward, update) on one sequence over a ring of 8 virtual CPU devices, by context: tokens
a second, model FLOP utilization (the operations a step needs by PaLM's count, attention only within documents, ÷ what a
plain float32 product reaches in the same process), and memory. The sequence is packed with documents of about 1,000
tokens. Each context runs in a process of its own, so that its peak is its own.

    .venv/bin/python benchmarks/step.py [--quick] [--contexts 4096 16384 65536 262144] [--out step.json]

Memory: `peak` is the largest resident size of the process; `program` what the compiled step allocates on all devices
(XLA's buffer assignment), also as bytes a token; `kept` the part of it that the layers keep for backward, which is
layers x ((dim + heads x head_dim) x bytes + heads x 4) bytes a token. The rest is one layer's backward: in XLA's buffer
assignment eleven arrays as large as the queries, thirteen as large as the keys (the ring holds keys, values and the
sums of their gradients twice, here and on the way), cosines and sines. For `small` that makes 4,160 + 11 x 512 +
13 x 256 + 256 = 13,376 bytes a token, which is the slope between 256K and 1M. What does not grow is left: weights, and
logits of a chunk, once a device.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")  # read when JAX is first used

import jax
import jax.numpy as jnp
import numpy as np

from schemas.vocab import Vocabulary
from trainer.config import MeshConfig, ModelConfig, flops_per_token, small
from trainer.data.loader import Placement
from trainer.mesh import make_mesh
from trainer.run.loop import use_cpu_devices
from trainer.run.optimizer import OptimizerConfig, make_optimizer, schedule
from trainer.run.state import Plan, new_state
from trainer.run.step import compile_step

DEVICES, DOCUMENT = 8, 1000
VOCABULARY = Vocabulary(
    text_size=2048,
    codebook_size=1024,
    bos_id=1,
    eos_id=2,
    begin_vision=(3,),
    end_vision=(4,),
    text_sha256="0" * 64,
    vision_sha256="0" * 64,
)


def packed(length: int) -> tuple[dict[str, np.ndarray], float]:
    """Return a batch of one sequence, documents of DOCUMENT/2 to 3 DOCUMENT/2 tokens, and a token's mean keys."""
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


def best_s(run: Callable[[], Any], repeats: int) -> float:
    """Return the least seconds of several runs, after one that does not count."""
    jax.block_until_ready(run())
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - started)
    return min(times)


def matmul_flops() -> float:
    """Return the floating-point operations a second of a square float32 product."""
    a = jnp.ones((2048, 2048), jnp.float32)
    product = jax.jit(jnp.matmul)
    return 2 * 2048**3 / best_s(lambda: product(a, a), 5)


def kept_bytes_a_token(config: ModelConfig) -> int:
    """Return what the layers keep of a token for backward: stream, attention's output and log-sum-exp."""
    size = jnp.dtype(config.dtype).itemsize
    return config.layers * ((config.dim + config.heads * config.head_dim) * size + config.heads * 4)


def measure(context: int, repeats: int) -> dict[str, Any]:
    """Return the figures of one context."""
    use_cpu_devices(DEVICES)
    config, mesh, steps = small(), make_mesh(MeshConfig()), 100
    about = OptimizerConfig()
    optimizer = make_optimizer(about, steps=steps)
    plan = Plan.of(config, VOCABULARY, optimizer=optimizer, mesh=mesh)
    step = compile_step(plan, optimizer, schedule(about, steps=steps), shape=(1, context))
    state = new_state(plan, config, VOCABULARY, optimizer=optimizer, seed=0)
    placement = Placement.of(mesh, (1, context), layout="block_cyclic", tile=config.tile)
    arrays, mean_span = packed(context)
    batch = placement.place({name: x[:, placement.order] for name, x in arrays.items()})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    peak_flops = matmul_flops()

    def one() -> Any:
        nonlocal state
        state, metrics = step(state, batch)
        return state, metrics

    taken = best_s(one, repeats)
    sizes = {"text_size": VOCABULARY.text_size, "vision_size": VOCABULARY.vision_size}
    flops = context * flops_per_token(config, **sizes, mean_span=mean_span)
    program = step.memory_analysis().temp_size_in_bytes * DEVICES
    return {
        "context": context,
        "step_s": taken,
        "tokens_per_s": context / taken,
        "matmul_gflops": peak_flops / 1e9,
        "mfu": flops / taken / peak_flops,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "before_bytes": before,
        "program_bytes": program,
        "program_bytes_a_token": program / context,
        "kept_bytes_a_token": kept_bytes_a_token(config),
    }


def in_a_process(context: int, repeats: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", str(context), "--repeats", str(repeats)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    made: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contexts", type=int, nargs="+", default=[4096, 16384, 65536, 262144])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="4,096 and 16,384 tokens only, about a minute")
    parser.add_argument("--out", type=Path, help="write the figures as JSON, too")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.repeats)))
        return
    print(f"a step of small, {DEVICES} virtual devices, documents of about {DOCUMENT:,}; best of {options.repeats}\n")
    columns = ("context", "seconds", "tokens/s", "matmul GFLOP/s", "MFU", "peak GB", "program GB", "B/token", "kept")
    print("".join(f"{name:>15}" for name in columns))
    rows = []
    for context in options.contexts[:2] if options.quick else options.contexts:
        r = in_a_process(context, options.repeats)
        rows.append(r)
        shown = (
            f"{context:,}",
            f"{r['step_s']:.2f}",
            f"{r['tokens_per_s']:,.0f}",
            f"{r['matmul_gflops']:.0f}",
            f"{r['mfu']:.0%}",
            f"{r['peak_bytes'] / 1e9:.2f}",
            f"{r['program_bytes'] / 1e9:.2f}",
            f"{r['program_bytes_a_token']:,.0f}",
            f"{r['kept_bytes_a_token']:,.0f}",
        )
        print("".join(f"{value:>15}" for value in shown), flush=True)
    if len(rows) > 1:
        first, last = rows[0], rows[-1]
        slope = (last["peak_bytes"] - first["peak_bytes"]) / (last["context"] - first["context"])
        print(f"\npeak memory grows by {slope:,.0f} bytes a token between the first and the last context")
    if options.out:
        options.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
