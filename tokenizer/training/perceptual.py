"""A perceptual distance between two images, measured in the features of a VGG-16.

The features after the last convolution of each of the five blocks are normalized to length 1 per position. Their
squared distance is summed over channels and averaged over positions and blocks: 0 for equal images, at most 4 (after
Zhang et al., "The Unreasonable Effectiveness of Deep Features", arXiv 1801.03924, without the learned weights).

Limitation: the available weights (`longreel perceptual`) are VGG-16 convolutions fine-tuned for edge detection (HED,
arXiv 1504.06375), and nothing is calibrated on human judgments. The distance grows as an image degrades, so it works as
a loss and for relative comparisons, but its values are not comparable with published LPIPS values.

Cost: 1.26 GFLOP forward for a 64 x 64 image, twice that backward; on a CPU more than the small model itself.
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
from schemas.storage.regular import require_regular

# Channels of the convolutions of each block.
BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
MIN_SIZE = 1 << (len(BLOCKS) - 1)  # pixels per side, so that the last block has one

_BGR_MEAN = (104.00699, 116.66877, 122.67892)  # of Caffe's VGG, in [0, 255]

Vgg = dict[str, jax.Array]


def shapes() -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of the tensors of a weights file: `block1_conv1.kernel` (HWIO), `….bias`, …"""
    found: dict[str, tuple[int, ...]] = {}
    inputs = 3
    for i, block in enumerate(BLOCKS, 1):
        for j, outputs in enumerate(block, 1):
            found |= {f"block{i}_conv{j}.kernel": (3, 3, inputs, outputs), f"block{i}_conv{j}.bias": (outputs,)}
            inputs = outputs
    return found


def load(path: Path) -> Vgg:
    """Read the weights from a safetensors file; raises ConfigError if a tensor is missing or does not fit."""
    try:
        require_regular(path)
        tensors = safetensors.numpy.load_file(path)
    except FileNotFoundError as e:
        raise ConfigError(f"{path} does not exist: download the weights with `longreel perceptual --out {path}`") from e
    except (OSError, safetensors.SafetensorError) as e:
        raise ConfigError(
            f"{path} is not a complete safetensors file ({e}): create it with `longreel perceptual`"
        ) from e
    for name, shape in shapes().items():
        if name not in tensors or tensors[name].shape != shape or not np.isfinite(tensors[name]).all():
            got = list(tensors[name].shape) if name in tensors else "missing"
            raise ConfigError(f"{path} is not a VGG-16: expected {name} to be {list(shape)} and finite, got {got}")
    return {name: jnp.asarray(tensors[name], jnp.float32) for name in shapes()}


def distance(vgg: Vgg, reconstructed: jax.Array, pixels: jax.Array, dtype: DTypeLike = jnp.float32) -> jax.Array:
    """Return the mean distance of two arrays of images `[B, H, W, 3]` in [-1, 1]; convolutions compute in `dtype`."""
    return distances(vgg, reconstructed, pixels, dtype).mean()


def distances(vgg: Vgg, reconstructed: jax.Array, pixels: jax.Array, dtype: DTypeLike = jnp.float32) -> jax.Array:
    """Return the distance of each pair of images, `[B]`; see `distance`."""
    both = jnp.concatenate([reconstructed, jax.lax.stop_gradient(pixels)])
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
        ours, theirs = jnp.split(_normalize(x.astype(jnp.float32)), 2)
        total += jnp.square(ours - theirs).sum(-1).mean((1, 2))
    return total / len(BLOCKS)


def _normalize(x: jax.Array) -> jax.Array:
    """Scale the channels of each position to length 1; zeros stay zero, with a finite gradient."""
    return x * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-6)
