"""Claim: attention's cost follows the documents, not the square of the context; the ring adds little to it.

One sequence packed with documents of about 1,000 tokens, and the same length as one document. Ours (`ring_attention`,
on one device and over a ring of 8 virtual ones) beside what a user would pick on CPU, `jax.nn.dot_product_attention`
with a mask, forward and backward together; then loss and gradients of the recipe `small`. Shares of a plain matrix
product's speed, measured in the same run, put the numbers of one machine beside another's.

    .venv/bin/python benchmarks/training.py [--out training.json]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")  # read when JAX is first used

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from trainer.config import MeshConfig, flops_per_token, small
from trainer.layout import permutation
from trainer.loss import batch_loss
from trainer.mesh import batch_sharding, make_mesh, shardings
from trainer.model import create
from trainer.ring import ring_attention

HEADS, KV_HEADS, HEAD_DIM, TILE = 4, 2, 32, 128
TEXT, VISION = 2048, 1026
REPEATS = 5


def packed(length: int, document: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return segment ids and positions [1, length] of documents of about `document` tokens."""
    rng, lengths = np.random.default_rng(seed), []
    while sum(lengths) < length:
        lengths.append(int(rng.integers(document // 2, document * 3 // 2)) if document < length else length)
    segments = np.repeat(np.arange(1, len(lengths) + 1), lengths)[None, :length]
    positions = np.concatenate([np.arange(n) for n in lengths])[None, :length]
    return segments.astype(np.int32), positions.astype(np.int32)


def seconds(run: Callable[..., Any], *arguments: Any) -> float:
    """Return the median of several runs, after one that compiles."""
    jax.block_until_ready(run(*arguments))
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        jax.block_until_ready(run(*arguments))
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def masked(q: jax.Array, k: jax.Array, v: jax.Array, segments: jax.Array, positions: jax.Array) -> jax.Array:
    """The alternative: the whole square of scores, with a mask."""
    same = segments[:, None, :, None] == segments[:, None, None, :]
    return jax.nn.dot_product_attention(q, k, v, mask=same & (positions[:, None, None] <= positions[:, None, :, None]))


def attention_s(attend: Callable[..., jax.Array], length: int, document: int, mesh: Any = None) -> float:
    """Return seconds of forward and backward; with a mesh the sequence is laid out block-cyclic over it."""
    segments, positions = packed(length, document)
    shapes = [(1, length, n, HEAD_DIM) for n in (HEADS, KV_HEADS, KV_HEADS)]
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape, np.float32) for shape in shapes] + [segments, positions]
    if mesh is not None:
        order = permutation("block_cyclic", length=length, devices=mesh.shape["sequence"], stripe=TILE)
        arrays = [jax.device_put(a[:, order], batch_sharding(mesh)) for a in arrays]
    # The sum of squares, so that the gradient that comes in is no constant.
    loss = jax.jit(jax.grad(lambda *a: jnp.sum(jnp.square(attend(*a))), argnums=(0, 1, 2)))
    return seconds(loss, *arrays)


def step_s(length: int, rows: int, mesh_config: MeshConfig) -> float:
    """Return seconds of loss and gradients of `small`."""
    config, mesh = small(), make_mesh(mesh_config)
    model = create(config, text_size=TEXT, vision_size=VISION, mesh=mesh, seed=0)
    made = [packed(length, 1000, seed=row) for row in range(rows)]
    segments, positions = (np.concatenate(parts) for parts in zip(*made, strict=True))
    tokens = np.random.default_rng(0).integers(0, TEXT + VISION, (rows, length)).astype(np.int32)
    batch = {"tokens": tokens, "targets": np.roll(tokens, -1, 1), "segment_ids": segments, "positions": positions}
    batch["weights"] = np.ones((rows, length), np.float32)
    order = permutation("block_cyclic", length=length, devices=mesh.shape["sequence"], stripe=config.tile)
    placed = {name: jax.device_put(a[:, order], batch_sharding(mesh)) for name, a in batch.items()}
    graph, state = nnx.split(model)
    run = jax.value_and_grad(lambda s, b: batch_loss(nnx.merge(graph, s), b), has_aux=True)
    return seconds(jax.jit(run, out_shardings=(None, shardings(state, mesh))), state, placed)


def matmul_flops() -> float:
    """Return the floating-point operations a second of a square float32 product on one device."""
    a = jnp.ones((1536, 1536), jnp.float32)
    return 2 * 1536**3 / seconds(jax.jit(jnp.matmul), a, a)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the figures as JSON, too")
    out = parser.parse_args().out
    peak = matmul_flops()
    print(f"a float32 matrix product: {peak / 1e9:.0f} GFLOP/s; medians of {REPEATS} runs, forward and backward\n")
    print(f"{'attention':<28}{'masked square':>15}{'ours, 1 device':>16}{'ours, ring of 8':>17}")
    ring = make_mesh(MeshConfig(sequence=8))
    rows: list[dict[str, Any]] = [{"matmul_gflops": peak / 1e9}]
    for length, document in ((4096, 1000), (4096, 4096), (8192, 1000), (16384, 1000)):
        ours = attention_s(lambda *a: ring_attention(*a, mesh=None, tile=TILE), length, document)
        dealt = attention_s(lambda *a: ring_attention(*a, mesh=ring, tile=TILE), length, document, ring)
        # The square of 16,384 would take 4 GiB a copy, and several of them.
        square = attention_s(masked, length, document) if length <= 8192 else None
        shown = "too large" if square is None else f"{square:.2f} s"
        print(f"{f'{length:,} of {document:,}':<28}{shown:>15}{f'{ours:.2f} s':>16}{f'{dealt:.2f} s':>17}")
        rows.append({"length": length, "document": document, "masked_s": square, "ours_s": ours, "ring_s": dealt})
    print(f"\n{'training step of small':<28}{'seconds':>15}{'tokens/s':>16}{'of the product':>17}")
    for length, batch, mesh in ((4096, 2, MeshConfig(data=2, sequence=4)), (16384, 1, MeshConfig(sequence=8))):
        taken, tokens = step_s(length, batch, mesh), length * batch
        flops = tokens * flops_per_token(small(), text_size=TEXT, vision_size=VISION, mean_span=500)
        share = flops / taken / peak
        print(f"{f'{batch} x {length:,}':<28}{taken:>15.2f}{tokens / taken:>16,.0f}{share:>17.0%}")
        rows.append({"length": length, "batch": batch, "step_s": taken, "share_of_matmul": share})
    if out:
        out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
