"""Claim: frames are encoded as fast as the machine multiplies, and never slower than by the model written plainly.

Frames a second and GFLOP/s (operations of convolutions and of the code search, counted in shapes) by batch, for the
tokenizer as it is and for a plain one: the same architecture in Flax linen, with `nn.GroupNorm`, `nn.Conv` and the same
weights. Beside them a square float32 product's speed. All in one process, turn by turn; the best of several. Codes of
the two are compared: they may differ where two codes are nearly equally near, and the share that is equal is told.

    .venv/bin/python benchmarks/encode.py [--quick] [--models lwm-256] [--batches 1 4 16] [--out encode.json]
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tokenizer.checkpoints.checkpoint import Weights
from tokenizer.codec import FrameCodec
from tokenizer.config import VqganConfig, named
from tokenizer.quantizers.base import nearest_codes
from tokenizer.vqgan.vqgan import init_params, to_unit


class PlainBlock(nn.Module):
    """norm, SiLU, conv, twice, and a shortcut."""

    channels: int
    groups: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [B, H, W, C] to [B, H, W, channels]."""
        h = nn.silu(nn.GroupNorm(self.groups, epsilon=1e-6, name="norm1")(x))
        h = nn.Conv(self.channels, (3, 3), name="conv1")(h)
        h = nn.silu(nn.GroupNorm(self.groups, epsilon=1e-6, name="norm2")(h))
        h = nn.Conv(self.channels, (3, 3), name="conv2")(h)
        if x.shape[-1] != self.channels:
            x = nn.Conv(self.channels, (1, 1), name="conv_shortcut")(x)
        return h + x


class PlainEncoder(nn.Module):
    """Pixels to latents, with the names of our own parameters."""

    config: VqganConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [B, H, W, 3] to [B, h, w, D]."""
        c = self.config
        x = nn.Conv(c.channels[0], (3, 3), name="encoder.conv_in")(x)
        for i, channels in enumerate(c.channels):
            for j in range(c.blocks):
                x = PlainBlock(channels, c.groups, name=f"encoder.down_blocks.{i}.resnets.{j}")(x)
            if i < len(c.channels) - 1:
                x = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
                name = f"encoder.down_blocks.{i}.downsamplers.0.conv"
                x = nn.Conv(channels, (3, 3), strides=2, padding="VALID", name=name)(x)
        for j in range(2):
            x = PlainBlock(c.channels[-1], c.groups, name=f"encoder.mid_block.resnets.{j}")(x)
        x = nn.silu(nn.GroupNorm(c.groups, epsilon=1e-6, name="encoder.conv_norm_out")(x))
        x = nn.Conv(c.latent_dim, (3, 3), name="encoder.conv_out")(x)
        return nn.Conv(c.latent_dim, (1, 1), name="quant_conv")(x)


def plain_parameters(params: nnx.State, shapes: dict[str, Any]) -> dict[str, Any]:
    """Return our parameters as the tree of the plain encoder."""
    ours = {".".join(map(str, path)): leaf[...] for path, leaf in nnx.to_flat_state(params)}
    flat = jax.tree_util.tree_flatten_with_path(shapes)
    return jax.tree.unflatten(flat[1], [ours[".".join(key.key for key in path[1:])] for path, _ in flat[0]])


def flops(function: Callable[..., Any], *arguments: Any) -> int:
    """Return the operations of the convolutions and products in a traced function: two for each multiply-add."""

    def count(jaxpr: Any) -> int:
        total = 0
        for equation in jaxpr.eqns:
            for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda v: hasattr(v, "jaxpr")):
                total += count(inner.jaxpr) if hasattr(inner, "jaxpr") else 0
            if equation.primitive.name == "conv_general_dilated":
                kernel = equation.invars[1].aval.shape
                out = equation.params["dimension_numbers"].rhs_spec[0]
                total += 2 * equation.outvars[0].aval.size * math.prod(kernel) // kernel[out]
            if equation.primitive.name == "dot_general":
                left, (contract, _) = equation.invars[0].aval.shape, equation.params["dimension_numbers"][0]
                total += 2 * equation.outvars[0].aval.size * math.prod(left[i] for i in contract)
        return total

    return count(jax.make_jaxpr(function)(*arguments).jaxpr)


def best_s(run: Callable[[], Any], seconds: float) -> float:
    """Return the shortest time of a call, of as many as fit into `seconds`, two at least."""
    jax.block_until_ready(run())
    times: list[float] = []
    while sum(times) < seconds or len(times) < 2:
        began = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - began)
    return min(times)


def matmul_flops(seconds: float) -> float:
    """Return the operations a second of a square float32 product."""
    a = jnp.ones((4096, 4096), jnp.float32)
    return 2 * 4096**3 / best_s(partial(jax.jit(jnp.matmul), a, a), seconds)


def measure(name: str, batches: list[int], seconds: float) -> list[dict[str, Any]]:
    """Return a row for each batch."""
    config = named(name)
    params = init_params(config, 0)
    codebook = jnp.asarray(
        np.random.default_rng(1).standard_normal((config.codebook_size, config.latent_dim)), jnp.float32
    )
    plain = PlainEncoder(config)
    picture = jnp.zeros((1, config.frame_size, config.frame_size, 3))
    tree = plain_parameters(params, jax.eval_shape(plain.init, jax.random.key(0), picture))

    @jax.jit
    def plainly(frames: jax.Array) -> jax.Array:
        latents = plain.apply(tree, to_unit(frames))
        return nearest_codes(latents.reshape(-1, config.latent_dim), codebook).reshape(frames.shape[0], -1)

    work = flops(lambda x: plain.apply(tree, x), picture)  # of the architecture, in whatever way it is computed
    work += 2 * math.prod(config.grid(*picture.shape[1:3])) * config.codebook_size * config.latent_dim
    rows = []
    for batch in batches:
        codec = FrameCodec(Weights(config, params, codebook), batch=batch)
        frames = np.random.default_rng(0).integers(0, 256, (batch, *picture.shape[1:]), np.uint8)
        equal = float((codec.encode(frames) == np.asarray(plainly(jnp.asarray(frames)))).mean())
        peak = matmul_flops(seconds / 4)
        runs = {"ours": partial(codec.encode, frames), "plain": partial(plainly, frames)}
        times = {who: best_s(run, seconds) for who, run in runs.items()}
        rows.append({
            "model": name, "batch": batch, "gflop_a_frame": work / 1e9, "matmul_gflops": peak / 1e9,
            "equal_codes": equal,
            **{f"{who}_fps": batch / s for who, s in times.items()},
            **{f"{who}_gflops": work * batch / s / 1e9 for who, s in times.items()},
            "times_plain": times["plain"] / times["ours"],
        })  # fmt: skip
        print(
            f"{name:>10} batch {batch:>2}: {batch / times['ours']:8.2f} frames/s, "
            f"{rows[-1]['ours_gflops']:6.1f} GFLOP/s; plain {rows[-1]['plain_gflops']:6.1f}; matmul {peak / 1e9:6.1f}; "
            f"{rows[-1]['times_plain']:.2f} x plain; codes equal {rows[-1]['equal_codes']:.4%}",
            flush=True,
        )
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["small-128", "lwm-256"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8, 16])
    parser.add_argument("--seconds", type=float, default=10.0, help="for each figure")
    parser.add_argument("--quick", action="store_true", help="small-128 alone, a second for each figure")
    parser.add_argument("--out", type=Path, help="a JSON file of all figures")
    options = parser.parse_args()
    if options.quick:
        options.models, options.seconds = ["small-128"], 1.0
    rows = [row for name in options.models for row in measure(name, options.batches, options.seconds)]
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
