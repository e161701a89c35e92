"""A perceptual distance: how far apart two pictures are in the features of a VGG-16.

Features after the second or third convolution of each of the five blocks are scaled to length 1 a position, and their
squared distance is summed over channels, averaged over positions and blocks: 0 for equal pictures, at most 4 (after
Zhang et al., "The Unreasonable Effectiveness of Deep Features", arXiv 1801.03924, without its learned weights).

What it is not: the weights at hand (`longreel perceptual`) are VGG-16's convolutions as fine-tuned for finding edges
(HED, arXiv 1504.06375), and nothing here was fitted to what people see. So it grows as a picture gets worse, and is
good as a loss and for comparisons with itself; its numbers compare with no published ones.

Cost: 1.26 GFLOP forward for a 64 x 64 picture, twice that on the way back; on a CPU more than the small model itself.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from jax.typing import DTypeLike

from schemas.errors import ConfigError

# Channels of the convolutions of each block.
BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
SMALLEST = 1 << (len(BLOCKS) - 1)  # pixels: the last block has to have one

_BGR_MEAN = (104.00699, 116.66877, 122.67892)  # of Caffe's VGG, on a scale of 0 to 255

Vgg = dict[str, jax.Array]


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the tensors of a file of weights: `block1_conv1.kernel` (HWIO), `….bias`, …"""
    found: dict[str, tuple[int, ...]] = {}
    inputs = 3
    for i, block in enumerate(BLOCKS, 1):
        for j, outputs in enumerate(block, 1):
            found |= {f"block{i}_conv{j}.kernel": (3, 3, inputs, outputs), f"block{i}_conv{j}.bias": (outputs,)}
            inputs = outputs
    return found


def load(path: Path) -> Vgg:
    """Read the weights from a safetensors file; raises ConfigError that says what is missing or does not fit."""
    try:
        tensors = safetensors.numpy.load_file(path)
    except FileNotFoundError as e:
        raise ConfigError(f"no file {path}: `longreel perceptual --out {path}` fetches the weights") from e
    except (OSError, safetensors.SafetensorError) as e:
        raise ConfigError(f"{path} is not a whole safetensors file ({e}): make it with `longreel perceptual`") from e
    for name, shape in shapes().items():
        if name not in tensors or tensors[name].shape != shape or not np.isfinite(tensors[name]).all():
            got = list(tensors[name].shape) if name in tensors else "missing"
            raise ConfigError(f"{path} has no VGG-16: {name} should be {list(shape)} and finite, and is {got}")
    return {name: jnp.asarray(tensors[name], jnp.float32) for name in shapes()}


def distance(vgg: Vgg, rebuilt: jax.Array, pixels: jax.Array, dtype: DTypeLike = jnp.float32) -> jax.Array:
    """Return the mean distance of the pictures of two arrays `[B, H, W, 3]` in [-1, 1]; convolutions are in `dtype`."""
    return distances(vgg, rebuilt, pixels, dtype).mean()


def distances(vgg: Vgg, rebuilt: jax.Array, pixels: jax.Array, dtype: DTypeLike = jnp.float32) -> jax.Array:
    """Return the distance of each pair of pictures, `[B]`; as `distance`."""
    both = jnp.concatenate([rebuilt, jax.lax.stop_gradient(pixels)])
    mean = jnp.asarray(_BGR_MEAN, jnp.float32)
    x = ((both[..., ::-1] + 1.0) * 127.5 - mean[None, None, None]).astype(dtype)
    total = jnp.zeros(len(pixels), jnp.float32)
    for i, block in enumerate(BLOCKS, 1):
        if i > 1:
            x = jax.lax.reduce_window(x, np.array(-np.inf, x.dtype), jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")
        for j in range(1, len(block) + 1):
            kernel, bias = (vgg[f"block{i}_conv{j}.{part}"].astype(dtype) for part in ("kernel", "bias"))
            x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            x = jax.nn.relu(x + bias[None, None, None])
        ours, theirs = jnp.split(_unit(x.astype(jnp.float32)), 2)
        total += jnp.square(ours - theirs).sum(-1).mean((1, 2))
    return total / len(BLOCKS)


def _unit(x: jax.Array) -> jax.Array:
    """Scale the channels of each position to length 1; where all are 0 they stay so, with a finite gradient."""
    return x * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-6)
