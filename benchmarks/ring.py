"""Measures ring attention against the speed of a matrix product, and how its time follows the documents.

    python benchmarks/ring.py [--smoke] [--lengths 8192 32768 131072] [--kv-heads 2] [--out ring.json]

Eight virtual CPU devices, float32, block-cyclic layout. One document (dense causal), and sequences packed with the
lengths of real books, real clips, and both (`lengths.json`). Per case, for forward alone and with backward:

    GFLOP/s      of useful work: 4 (forward) or 14 (both) x heads x head dim per pair of tokens that may attend
    of peak      the same as a share of a float32 matrix product's speed, measured before and after the case
    of peak/CPU  the same by CPU time instead of wall time, which other load on the machine disturbs less
    tiles        work executed in tiles / useful work
    plain        GFLOP/s of the simplest ring: all pairs of all hops, no tiles (`plain_ring`)
    JAX          GFLOP/s of jax.nn.dot_product_attention with a mask, on one device

"-" means that the square of scores does not fit into memory. Then the three strategies of
`trainer/attention/context_parallel.py`, with the memory of the program's temporaries per device.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")  # read when JAX is first used

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from trainer.attention.context_parallel import attention
from trainer.attention.reference import visible
from trainer.attention.tiles import Tokens, bounds
from trainer.config import MeshConfig
from trainer.cpu_devices import compiler_options
from trainer.data.layout import lay_out, permutation
from trainer.mesh import batch_sharding, make_mesh

REAL = json.loads(Path(__file__).with_name("lengths.json").read_text())
DEVICES = 8
SCORES_BYTES = 3 << 29  # the largest copy of the scores that an alternative may allocate
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Options:
    """Measure attention over a ring."""

    lengths: tuple[int, ...] = (8192, 32768, 131072)
    documents: tuple[str, ...] = ("one", "books", "clips", "mix")
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    tile: int = 128
    seconds: float = 20.0  # repeat each case for about this long; the best time counts
    product_size: int = 2048  # of the matrices whose product gives the peak
    smoke: bool = False  # one short packed sequence, in less than a minute
    out: Path | None = None  # write the figures to this JSON file


def lengths_of(kind: str, length: int, rng: np.random.Generator) -> np.ndarray:
    """Return lengths of documents that fill `length` tokens, in random order, the last one cut."""
    drawn = {"books": REAL["books"], "clips": REAL["clips"], "mix": REAL["books"] + REAL["clips"] * 4}
    lengths: list[int] = []
    while (left := length - sum(lengths)) > 0:
        lengths.append(left if kind == "one" else min(int(rng.choice(drawn[kind])), left))
    return np.array(lengths)


def inputs(lengths: np.ndarray, options: Options) -> Arrays:
    """Return q, k, v and the tokens' segment ids and positions, in reading order."""
    length, rng = int(lengths.sum()), np.random.default_rng(0)
    heads = {"q": options.heads, "k": options.kv_heads, "v": options.kv_heads}
    made: Arrays = {
        name: rng.standard_normal((1, length, n, options.head_dim), np.float32) for name, n in heads.items()
    }
    made["segment_ids"] = np.repeat(np.arange(1, len(lengths) + 1, dtype=np.int32), lengths)[None]
    made["positions"] = np.concatenate([np.arange(n, dtype=np.int32) for n in lengths])[None]
    return made


def laid_out(arrays: Arrays, mesh: Mesh, tile: int) -> list[jax.Array]:
    """Permute the sequence as the loader does, and place it."""
    length = arrays["positions"].shape[1]
    order = permutation("block_cyclic", length=length, devices=DEVICES, stripe=min(tile, length // DEVICES))
    ids = lay_out({name: arrays[name] for name in ("segment_ids", "positions")}, order)
    placed = [arrays[name][:, order] for name in "qkv"] + list(ids.values())
    return [jax.device_put(x, batch_sharding(mesh)) for x in placed]


def plain_ring(mesh: Mesh) -> Callable[..., jax.Array]:
    """The simplest ring: every device attends to all keys of every hop; JAX differentiates it, a hop at a time."""

    def local(q: jax.Array, k: jax.Array, v: jax.Array, segments: jax.Array, positions: jax.Array) -> jax.Array:
        q = q.reshape(*q.shape[:2], k.shape[2], -1, q.shape[-1])
        scale = q.shape[-1] ** -0.5

        @jax.checkpoint
        def hop(carry: Any, _: None) -> tuple[Any, None]:
            (values, highest, weights), keys = carry
            k, v, *tokens = keys
            seen = visible(segments, positions, *tokens)[:, None, None]
            scores = jnp.where(seen, jnp.einsum("bqkgh,bskh->bkgqs", q, k) * scale, -1e30)
            top = jnp.maximum(highest, scores.max(-1))
            weight, fade = jnp.exp(scores - top[..., None]), jnp.exp(highest - top)
            values = values * fade[..., None] + jnp.einsum("bkgqs,bskh->bkgqh", weight, v)
            sums = values, top, weights * fade + weight.sum(-1)
            steps = [(i, (i + 1) % DEVICES) for i in range(DEVICES)]
            return (sums, jax.tree.map(lambda x: lax.ppermute(x, "sequence", steps), keys)), None

        values = jnp.einsum("bqkgh->bkgqh", jnp.zeros_like(q))
        start = values, jnp.full_like(values[..., 0], -1e30), values[..., 0]
        ((values, _, weights), _), _ = lax.scan(hop, (start, (k, v, segments, positions)), length=DEVICES)
        return jnp.einsum("bkgqh->bqkgh", values / weights[..., None]).reshape(*q.shape[:2], -1, q.shape[-1])

    heads, tokens = PartitionSpec(None, "sequence", None, None), PartitionSpec(None, "sequence")
    return jax.shard_map(local, mesh=mesh, in_specs=(heads,) * 3 + (tokens,) * 2, out_specs=heads)


def jax_attention(q: jax.Array, k: jax.Array, v: jax.Array, segments: jax.Array, positions: jax.Array) -> jax.Array:
    """The usual choice on CPU: the whole square of scores, with a mask."""
    return jax.nn.dot_product_attention(q, k, v, mask=visible(segments, positions, segments, positions)[:, None])


def with_backward(attend: Callable[..., jax.Array]) -> Callable[..., Any]:
    """Return the gradients of the sum of squares, so that the incoming gradient is not constant."""
    return jax.grad(lambda *x: jnp.sum(jnp.square(attend(*x))), argnums=(0, 1, 2))


def best(run: Callable[..., Any], arguments: Any, seconds: float) -> tuple[float, float]:
    """Return the least wall-clock and CPU time of a few runs."""
    times, end = [], time.perf_counter() + seconds
    while not times or (time.perf_counter() + times[0][0] < end and len(times) < 7):
        started, spent = time.perf_counter(), time.process_time()
        jax.block_until_ready(run(*arguments))
        times.append((time.perf_counter() - started, time.process_time() - spent))
    return min(t for t, _ in times), min(t for _, t in times)


def product_flops(size: int) -> tuple[float, float]:
    """Return the FLOP/s of a square float32 product, by wall-clock and by CPU time."""
    a = jnp.ones((size, size), jnp.float32)
    run = jax.jit(jnp.matmul).lower(a, a).compile()
    wall, spent = best(run, (a, a), 2.0 if size >= 2048 else 0.01)
    return 2 * size**3 / wall, 2 * size**3 / spent


def rate(
    attend: Callable[..., Any],
    arguments: Any,
    flops: float,
    seconds: float,
    size: int,
    options: dict[str, str] | None,
) -> dict[str, float]:
    """Return GFLOP/s of `flops`, and their share of the product's speed around it; `options` are XLA's."""
    run = jax.jit(attend, compiler_options=options).lower(*arguments).compile()
    before = product_flops(size)
    wall, spent = best(run, arguments, seconds)
    peak, peak_spent = (max(pair) for pair in zip(before, product_flops(size), strict=True))
    return {
        "seconds": wall,
        "gflops": flops / wall / 1e9,
        "peak_gflops": peak / 1e9,
        "of_peak": flops / wall / peak,
        "of_peak_by_cpu_time": flops / spent / peak_spent,
        "temporaries_mb": run.memory_analysis().temp_size_in_bytes / 2**20,
    }


def tiles_executed(placed: list[jax.Array], lengths: np.ndarray, tile: int) -> float:
    """Return work executed in tiles / useful work."""
    tokens = Tokens(*(jnp.asarray(np.asarray(x)) for x in placed[3:]))
    limits = jax.jit(partial(bounds, tile=tile, key_ranges=DEVICES))(tokens, tokens)
    executed = int(np.sum(np.asarray(limits.stop - limits.start, np.int64)))
    return executed * tile**2 / float(np.sum(lengths * (lengths + 1) / 2))


def measure(kind: str, length: int, mesh: Mesh, options: Options) -> dict[str, Any]:
    """Measure one case."""
    lengths = lengths_of(kind, length, np.random.default_rng(length))
    arrays = inputs(lengths, options)
    placed, tile = laid_out(arrays, mesh, options.tile), min(options.tile, length // DEVICES)
    flops = float(np.sum(lengths * (lengths + 1.0) / 2)) * 4 * options.heads * options.head_dim
    row: dict[str, Any] = {"documents": kind, "length": length, "mean_length": float(lengths.mean())}
    row["executed_tiles"] = tiles_executed(placed, lengths, tile)
    ours, alone = partial(attention, mesh=mesh, tile=tile), [jnp.asarray(x) for x in arrays.values()]
    ways: dict[str, tuple[Callable[..., Any], Any, float]] = {
        "ring": (ours, placed, 0.0),
        "plain": (plain_ring(mesh), placed, length**2 / DEVICES * options.heads * 4),
        "jax": (jax_attention, alone, float(length) ** 2 * options.heads * 4),
    }
    for name, (attend, arguments, scores_bytes) in ways.items():
        if scores_bytes > SCORES_BYTES:
            continue
        about = options.seconds, options.product_size, compiler_options(mesh)
        row[name] = rate(attend, arguments, flops, *about)
        row[f"{name}_both"] = rate(with_backward(attend), arguments, 3.5 * flops, *about)
    return row


def side_by_side(length: int, mesh: Mesh, options: Options) -> dict[str, Any]:
    """Measure the three strategies, forward and backward, on one document; ulysses can split its 8 heads."""
    shape = Options(heads=8, kv_heads=8, head_dim=32, tile=min(options.tile, length // DEVICES))
    placed = laid_out(inputs(np.array([length]), shape), mesh, shape.tile)
    flops = 14.0 * length * (length + 1) / 2 * shape.heads * shape.head_dim
    ways = {
        method: with_backward(partial(attention, mesh=mesh, tile=shape.tile, method=method))
        for method in ("ring", "all_gather", "ulysses")
    }
    return {"length": length} | {
        name: rate(run, placed, flops, options.seconds / 2, options.product_size, compiler_options(mesh))
        for name, run in ways.items()
    }


def shown(row: dict[str, Any], name: str) -> str:
    return f"{row[name]['gflops']:.0f}" if name in row else "-"


def main(options: Options) -> None:
    mesh = make_mesh(MeshConfig(sequence=DEVICES))
    if options.smoke:
        smaller = {"heads": 2, "head_dim": 8, "tile": 16, "seconds": 0.01, "product_size": 256}
        options = replace(options, lengths=(256,), documents=("mix",), **smaller)  # type: ignore[arg-type]
    print(f"{options.heads} heads of {options.head_dim}, {options.kv_heads} for keys; tiles of {options.tile}\n")
    print(f"{'documents':<10}{'tokens':>9}{'tiles':>7} |{'forward':>9}{'of peak':>9}{'/CPU':>6}{'plain':>7}{'JAX':>5} |"
          f"{'both':>9}{'of peak':>9}{'/CPU':>6}{'plain':>7}{'JAX':>5}{'seconds':>9}{'peak':>6}")  # fmt: skip
    rows = []
    for length in options.lengths:
        for kind in options.documents:
            row = measure(kind, length, mesh, options)
            rows.append(row)
            print(f"{kind:<10}{length:>9,}{row['executed_tiles']:>7.2f}", end="")
            for way in ("", "_both"):
                ours = row[f"ring{way}"]
                print(f" |{ours['gflops']:>9.0f}{ours['of_peak']:>9.0%}{ours['of_peak_by_cpu_time']:>6.0%}"
                      f"{shown(row, f'plain{way}'):>7}{shown(row, f'jax{way}'):>5}", end="")  # fmt: skip
            print(f"{ours['seconds']:>9.2f}{ours['peak_gflops']:>6.0f}", flush=True)
    print(f"\n8 heads of 32, forward and backward\n{'tokens':>9}", end="")
    print("".join(f"{f'{m}, s':>15}{'MB':>7}" for m in ("ring", "all_gather", "ulysses")))
    methods = []
    for length in (256,) if options.smoke else (2048, 8192, 32768):
        row = side_by_side(length, mesh, options)
        methods.append(row)
        ways = (row[m] for m in ("ring", "all_gather", "ulysses"))
        print(f"{length:>9,}" + "".join(f"{w['seconds']:>15.3f}{w['temporaries_mb']:>7.0f}" for w in ways), flush=True)
    if options.out:
        options.out.write_text(json.dumps({"cases": rows, "methods": methods}, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
