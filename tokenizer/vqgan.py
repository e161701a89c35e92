"""The VQGAN's encoder and decoder in Flax NNX, in the shapes of LWM and aMUSEd.

Esser et al., "Taming Transformers" (arXiv 2012.09841), without attention, as in aMUSEd (arXiv 2401.01808) and
LWM (arXiv 2402.08268). A residual block is norm, SiLU, conv, norm, SiLU, conv, with a 1x1 shortcut where the
channels change. Attributes carry the names of the aMUSEd / diffusers checkpoint, so that a parameter's path is
its published name (`tokenizer/checkpoint.py`).

Shapes: B frames, H x W pixels, h x w codes, D latent dim, C channels. Arrays are `[B, H, W, C]`.
Cost: 213 GFLOP to encode a frame with `lwm-256`, 0.6 with `small-128`.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from tokenizer.config import Compute, VqganConfig

_EPSILON = 1e-6


def _conv(inputs: int, outputs: int, *, size: int = 3, stride: int = 1, dtype: DTypeLike, rngs: nnx.Rngs) -> nnx.Conv:
    """Make a convolution that keeps the size, or a strided one without padding of its own."""
    padding = "SAME" if stride == 1 else "VALID"
    return nnx.Conv(inputs, outputs, (size, size), strides=stride, padding=padding, dtype=dtype, rngs=rngs)


class GroupNorm(nnx.Module):
    """Group normalisation as one sum a channel and one multiply-add a pixel.

    The same function as `nnx.GroupNorm`, whose reduction over a five-dimensional view runs ten times slower in
    XLA on a CPU (7.6 against 0.8 ms for `[32, 64, 64, 16]` with SiLU). Statistics are float32 whatever the input.
    """

    def __init__(self, channels: int, *, groups: int) -> None:
        self.groups = groups
        self.scale = nnx.Param(jnp.ones(channels, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(channels, jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[B, H, W, C]` to the same shape and dtype."""
        _, h, w, _ = x.shape
        x32 = x.astype(jnp.float32)
        mean = self._over_group(x32.sum((1, 2)), h * w)
        variance = self._over_group(jnp.square(x32 - mean[:, None, None]).sum((1, 2)), h * w)
        scale = self.scale[...][None] * jax.lax.rsqrt(variance + _EPSILON)
        shift = self.bias[...][None] - mean * scale
        return (x32 * scale[:, None, None] + shift[:, None, None]).astype(x.dtype)

    def _over_group(self, sums: jax.Array, pixels: int) -> jax.Array:
        """Map sums a channel `[B, C]` to the mean of the channel's group, `[B, C]`."""
        b, c = sums.shape
        size = c // self.groups
        mean = sums.reshape(b, self.groups, size).sum(-1, keepdims=True) / (pixels * size)
        return jnp.broadcast_to(mean, (b, self.groups, size)).reshape(b, c)


class ResnetBlock(nnx.Module):
    """norm, SiLU, conv, norm, SiLU, conv, added to the input (through a 1x1 convolution where channels change)."""

    def __init__(self, inputs: int, outputs: int, *, groups: int, dtype: DTypeLike, rngs: nnx.Rngs) -> None:
        self.norm1 = GroupNorm(inputs, groups=groups)
        self.conv1 = _conv(inputs, outputs, dtype=dtype, rngs=rngs)
        self.norm2 = GroupNorm(outputs, groups=groups)
        self.conv2 = _conv(outputs, outputs, dtype=dtype, rngs=rngs)
        if inputs != outputs:
            self.conv_shortcut = _conv(inputs, outputs, size=1, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[B, H, W, inputs]` to `[B, H, W, outputs]`."""
        h = self.conv1(nnx.silu(self.norm1(x)))
        h = self.conv2(nnx.silu(self.norm2(h)))
        return h + (self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x)


class Downsample(nnx.Module):
    """Halve the size: pad bottom and right by one, then 3x3 with stride 2."""

    def __init__(self, channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs) -> None:
        self.conv = _conv(channels, channels, stride=2, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[B, H, W, C]` to `[B, H/2, W/2, C]`."""
        return self.conv(jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0))))


class Upsample(nnx.Module):
    """Double the size: nearest neighbour, then 3x3."""

    def __init__(self, channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs) -> None:
        self.conv = _conv(channels, channels, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[B, H, W, C]` to `[B, 2H, 2W, C]`."""
        b, h, w, c = x.shape
        x = jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, 2, w, 2, c))
        return self.conv(x.reshape(b, 2 * h, 2 * w, c))


class Blocks(nnx.Module):
    """Residual blocks at one resolution; the first one changes the channels."""

    def __init__(
        self, inputs: int, outputs: int, *, blocks: int, groups: int, dtype: DTypeLike, rngs: nnx.Rngs
    ) -> None:
        self.resnets = nnx.List(
            ResnetBlock(inputs if j == 0 else outputs, outputs, groups=groups, dtype=dtype, rngs=rngs)
            for j in range(blocks)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[B, H, W, inputs]` to `[B, H, W, outputs]`."""
        for block in self.resnets:
            x = block(x)
        return x


def _mid_block(channels: int, *, groups: int, dtype: DTypeLike, rngs: nnx.Rngs) -> Blocks:
    """Make the two blocks of the lowest resolution (other VQGANs put attention between; these have none)."""
    return Blocks(channels, channels, blocks=2, groups=groups, dtype=dtype, rngs=rngs)


class DownLevel(Blocks):
    """One resolution of the encoder: residual blocks, then half the size (not after the last level)."""

    def __init__(
        self, inputs: int, outputs: int, *, config: VqganConfig, last: bool, dtype: DTypeLike, rngs: nnx.Rngs
    ) -> None:
        super().__init__(inputs, outputs, blocks=config.blocks, groups=config.groups, dtype=dtype, rngs=rngs)
        self.downsamplers = nnx.List([] if last else [Downsample(outputs, dtype=dtype, rngs=rngs)])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[B, H, W, inputs]` to `[B, H/2, W/2, outputs]`, the last level to `[B, H, W, outputs]`."""
        x = super().__call__(x)
        for downsample in self.downsamplers:
            x = downsample(x)
        return x


class UpLevel(Blocks):
    """One resolution of the decoder: a residual block more than the encoder has, then twice the size."""

    def __init__(
        self, inputs: int, outputs: int, *, config: VqganConfig, last: bool, dtype: DTypeLike, rngs: nnx.Rngs
    ) -> None:
        super().__init__(inputs, outputs, blocks=config.blocks + 1, groups=config.groups, dtype=dtype, rngs=rngs)
        self.upsamplers = nnx.List([] if last else [Upsample(outputs, dtype=dtype, rngs=rngs)])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[B, H, W, inputs]` to `[B, 2H, 2W, outputs]`, the last level to `[B, H, W, outputs]`."""
        x = super().__call__(x)
        for upsample in self.upsamplers:
            x = upsample(x)
        return x


class Encoder(nnx.Module):
    """Pixels to latents."""

    def __init__(self, config: VqganConfig, *, dtype: DTypeLike, rngs: nnx.Rngs) -> None:
        channels, groups = config.channels, config.groups
        self.conv_in = _conv(3, channels[0], dtype=dtype, rngs=rngs)
        self.down_blocks = nnx.List(
            DownLevel(inputs, outputs, config=config, last=i == len(channels) - 1, dtype=dtype, rngs=rngs)
            for i, (inputs, outputs) in enumerate(pairwise((channels[0], *channels)))
        )
        self.mid_block = _mid_block(channels[-1], groups=groups, dtype=dtype, rngs=rngs)
        self.conv_norm_out = GroupNorm(channels[-1], groups=groups)
        self.conv_out = _conv(channels[-1], config.latent_dim, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[B, H, W, 3]` in [-1, 1] to `[B, h, w, D]`."""
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        return self.conv_out(nnx.silu(self.conv_norm_out(self.mid_block(x))))


class Decoder(nnx.Module):
    """Latents to pixels; `up_blocks.0` is the lowest resolution."""

    def __init__(self, config: VqganConfig, *, dtype: DTypeLike, rngs: nnx.Rngs) -> None:
        channels, groups = config.channels[::-1], config.groups
        self.conv_in = _conv(config.latent_dim, channels[0], dtype=dtype, rngs=rngs)
        self.mid_block = _mid_block(channels[0], groups=groups, dtype=dtype, rngs=rngs)
        self.up_blocks = nnx.List(
            UpLevel(inputs, outputs, config=config, last=i == len(channels) - 1, dtype=dtype, rngs=rngs)
            for i, (inputs, outputs) in enumerate(pairwise((channels[0], *channels)))
        )
        self.conv_norm_out = GroupNorm(channels[-1], groups=groups)
        self.conv_out = _conv(channels[-1], 3, dtype=dtype, rngs=rngs)

    def __call__(self, z: jax.Array) -> jax.Array:
        """Map `[B, h, w, D]` to `[B, H, W, 3]`, about [-1, 1]; the caller clips."""
        x = self.mid_block(self.conv_in(z))
        for level in self.up_blocks:
            x = level(x)
        return self.conv_out(nnx.silu(self.conv_norm_out(x)))


class Vqgan(nnx.Module):
    """Encoder and decoder around a quantiser, whose codebook lives apart (`tokenizer/quantize.py`).

    `compute` is what convolutions compute in; parameters are float32.
    """

    def __init__(self, config: VqganConfig, *, rngs: nnx.Rngs, compute: Compute = "float32") -> None:
        dtype = jnp.dtype(compute)
        self.encoder = Encoder(config, dtype=dtype, rngs=rngs)
        self.quant_conv = _conv(config.latent_dim, config.latent_dim, size=1, dtype=dtype, rngs=rngs)
        self.post_quant_conv = _conv(config.latent_dim, config.latent_dim, size=1, dtype=dtype, rngs=rngs)
        self.decoder = Decoder(config, dtype=dtype, rngs=rngs)

    def latents(self, pixels: jax.Array) -> jax.Array:
        """Map pixels `[B, H, W, 3]` in [-1, 1] to latents `[B, h, w, D]`, float32, before quantisation."""
        return self.quant_conv(self.encoder(pixels)).astype(jnp.float32)

    def pixels(self, latents: jax.Array) -> jax.Array:
        """Map quantised latents `[B, h, w, D]` to pixels `[B, H, W, 3]`, float32, not yet clipped to [-1, 1]."""
        return self.decoder(self.post_quant_conv(latents)).astype(jnp.float32)


def to_unit(frames: jax.Array) -> jax.Array:
    """Map uint8 frames to float32 in [-1, 1]."""
    return frames.astype(jnp.float32) / 127.5 - 1.0


def to_bytes(pixels: jax.Array) -> jax.Array:
    """Map float pixels to uint8: clipped to [-1, 1], rounded to the nearest, not truncated."""
    return jnp.round((jnp.clip(pixels, -1.0, 1.0) + 1.0) * 127.5).astype(jnp.uint8)


@lru_cache(maxsize=8)
def abstract(config: VqganConfig, compute: Compute = "float32") -> tuple[nnx.GraphDef, nnx.State]:
    """Return the model's structure and its parameters' shapes, without allocating any."""
    return nnx.split(nnx.eval_shape(lambda: Vqgan(config, rngs=nnx.Rngs(0), compute=compute)))


def parameter_count(config: VqganConfig) -> tuple[int, int]:
    """Return (parameters, tensors) of a configuration, codebook included, without allocating any."""
    leaves = jax.tree.leaves(abstract(config)[1])
    return sum(leaf.size for leaf in leaves) + config.codebook_size * config.latent_dim, len(leaves) + 1
