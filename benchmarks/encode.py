"""Measures how fast frames are encoded to codes, compared with the same model written in plain Flax.

    python benchmarks/encode.py [--smoke] [--models lwm-256] [--batches 1 4 16] [--out encode.json]

Reports frames and GFLOP per second of processor time (operations of direct convolutions and of the codebook search,
counted from shapes) per batch size, for the tokenizer and for a plain encoder: the same architecture in Flax linen with
`nn.GroupNorm` and `nn.Conv` and the same weights. The speed of a square float32 matrix product is the limit for direct
convolutions. All run in one process and take turns; the best round counts. The codes of both encoders are compared:
they may differ where two codes are nearly equally distant, and the share of equal codes is printed.
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

SMOKE = VqganConfig(name="smoke", frame_size=16, channels=(8, 16), blocks=1, groups=4, latent_dim=8, codebook_size=32)


class PlainBlock(nn.Module):
    """A residual block: norm, SiLU and convolution, twice, and a shortcut."""

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
    """Pixels to latents; parameters have the names that the tokenizer uses."""

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
    """Return the operations of the convolutions and products in a traced function: a multiply-add counts twice."""

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


def best_s(runs: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """Return the least processor time of a call of each function, in turns for `seconds`, but at least two rounds."""
    for run in runs.values():
        jax.block_until_ready(run())
    best, rounds, end = dict.fromkeys(runs, math.inf), 0, time.perf_counter() + seconds
    while rounds < 2 or time.perf_counter() < end:
        rounds += 1
        for name, run in runs.items():
            began = time.process_time()
            jax.block_until_ready(run())
            best[name] = min(best[name], time.process_time() - began)
    return best


def measure(
    config: VqganConfig, batches: list[int], *, seconds: float, matmul_size: int = 2048
) -> list[dict[str, Any]]:
    """Return one row per batch size."""
    params = init_params(config, 0)
    codebook = jnp.asarray(
        np.random.default_rng(1).standard_normal((config.codebook_size, config.latent_dim)), jnp.float32
    )
    plain = PlainEncoder(config)
    picture = jnp.zeros((1, config.frame_size, config.frame_size, 3))
    tree = plain_parameters(params, jax.eval_shape(plain.init, jax.random.key(0), picture))

    @jax.jit
    def encode_plain(frames: jax.Array) -> jax.Array:
        latents = plain.apply(tree, to_unit(frames))
        return nearest_codes(latents.reshape(-1, config.latent_dim), codebook).reshape(frames.shape[0], -1)

    work = flops(lambda x: plain.apply(tree, x), picture)  # of the architecture, independent of the implementation
    work += 2 * math.prod(config.grid(*picture.shape[1:3])) * config.codebook_size * config.latent_dim
    product, rows = jax.jit(jnp.matmul), []
    for batch in batches:
        codec = FrameCodec(Weights(config, params, codebook), batch=batch)
        frames = np.random.default_rng(0).integers(0, 256, (batch, *picture.shape[1:]), np.uint8)
        equal = float((codec.encode(frames) == np.asarray(encode_plain(jnp.asarray(frames)))).mean())
        square = jnp.ones((matmul_size, matmul_size), jnp.float32)
        runs = {"ours": partial(codec.encode, frames), "plain": partial(encode_plain, frames)}
        times = best_s(runs | {"product": partial(product, square, square)}, seconds)
        peak = 2 * matmul_size**3 / times.pop("product")
        rows.append({
            "model": config.name, "batch": batch, "gflop_per_frame": work / 1e9, "matmul_gflops": peak / 1e9,
            "equal_codes": equal,
            **{f"{who}_fps": batch / s for who, s in times.items()},
            **{f"{who}_gflops": work * batch / s / 1e9 for who, s in times.items()},
            "times_plain": times["plain"] / times["ours"],
        })  # fmt: skip
        print(
            f"{config.name:>10} batch {batch:>2}: {batch / times['ours']:8.2f} frames/s, "
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
    parser.add_argument("--seconds", type=float, default=20.0, help="time per batch size")
    parser.add_argument("--smoke", action="store_true", help="a tiny model on one frame, in a few seconds")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args()
    if options.smoke:
        rows = measure(SMOKE, [1], seconds=0.01, matmul_size=256)
    else:
        models = [named(name) for name in options.models]
        rows = [row for model in models for row in measure(model, options.batches, seconds=options.seconds)]
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
