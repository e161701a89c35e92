"""The VQGAN's encoder and decoder in Flax NNX, with the architecture of LWM and aMUSEd.

Esser et al., "Taming Transformers" (arXiv 2012.09841); by default without attention, as in aMUSEd (arXiv
2401.01808) and LWM (arXiv 2402.08268). A residual block is norm, SiLU, conv, norm, SiLU, conv, with a 1x1
shortcut if the number of channels changes. Attributes have the names of the aMUSEd / diffusers checkpoint, so the path
of a parameter is its published name (`tokenizer/checkpoints/checkpoint.py`).

Shapes: B frames, H x W pixels, h x w codes, D latent dim, C channels. Arrays are `[B, H, W, C]`.
Cost: 213 GFLOP to encode a frame with `lwm-256`, 0.4 with `small-128`.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise, zip_longest
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from tokenizer.config import Compute, VqganConfig
from tokenizer.vqgan.layers import Attention, AveragePool, Downsample, GroupNorm, ResnetBlock, Upsample, conv


class Blocks(nnx.Module):
    """Residual blocks at one resolution; the first changes the number of channels. The first ones have attention."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        config: VqganConfig,
        blocks: int,
        attentions: int,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        groups, shortcut = config.groups, config.shortcut
        self.resnets = nnx.List(
            ResnetBlock(
                inputs if j == 0 else outputs, outputs, groups=groups, shortcut=shortcut, dtype=dtype, rngs=rngs
            )
            for j in range(blocks)
        )
        self.attentions = nnx.List(Attention(outputs, groups=groups, dtype=dtype, rngs=rngs) for _ in range(attentions))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[B, H, W, inputs]` to `[B, H, W, outputs]`."""
        for block, attention in zip_longest(self.resnets, self.attentions):
            x = block(x)
            if attention is not None:
                x = attention(x)
        return x


def _mid_block(config: VqganConfig, *, dtype: DTypeLike, rngs: nnx.Rngs) -> Blocks:
    """Return the two blocks of the lowest resolution, with attention between them if configured."""
    channels, attentions = config.channels[-1], int(config.mid_attention)
    return Blocks(channels, channels, config=config, blocks=2, attentions=attentions, dtype=dtype, rngs=rngs)


class DownLevel(Blocks):
    """One resolution of the encoder: residual blocks, then downsampling by 2 (except after the last level)."""

    def __init__(
        self, inputs: int, outputs: int, *, config: VqganConfig, level: int, dtype: DTypeLike, rngs: nnx.Rngs
    ) -> None:
        blocks = config.blocks
        attentions = blocks if level in config.attention else 0
        super().__init__(inputs, outputs, config=config, blocks=blocks, attentions=attentions, dtype=dtype, rngs=rngs)
        downsamplers: list[Downsample | AveragePool] = []
        if level < len(config.channels) - 1:
            strided = config.downsample == "conv"
            downsamplers = [Downsample(outputs, dtype=dtype, rngs=rngs) if strided else AveragePool()]
        self.downsamplers = nnx.List(downsamplers)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[B, H, W, inputs]` to `[B, H/2, W/2, outputs]`, the last level to `[B, H, W, outputs]`."""
        x = super().__call__(x)
        for downsample in self.downsamplers:
            x = downsample(x)
        return x


class UpLevel(Blocks):
    """One resolution of the decoder: residual blocks, by default one more than in the encoder, then upsampling by 2."""

    def __init__(
        self, inputs: int, outputs: int, *, config: VqganConfig, level: int, dtype: DTypeLike, rngs: nnx.Rngs
    ) -> None:
        blocks = config.decoder_blocks or config.blocks + 1
        attentions = blocks if level in config.attention else 0
        super().__init__(inputs, outputs, config=config, blocks=blocks, attentions=attentions, dtype=dtype, rngs=rngs)
        self.upsamplers = nnx.List([] if level == 0 else [Upsample(outputs, dtype=dtype, rngs=rngs)])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[B, H, W, inputs]` to `[B, 2H, 2W, outputs]`, the last level to `[B, H, W, outputs]`."""
        x = super().__call__(x)
        for upsample in self.upsamplers:
            x = upsample(x)
        return x


class Encoder(nnx.Module):
    """Maps pixels to latents."""

    def __init__(self, config: VqganConfig, *, dtype: DTypeLike, rngs: nnx.Rngs) -> None:
        channels, groups = config.channels, config.groups
        outputs = config.encoder_dim or config.latent_dim
        self.conv_in = conv(3, channels[0], dtype=dtype, rngs=rngs)
        self.down_blocks = nnx.List(
            DownLevel(before, after, config=config, level=i, dtype=dtype, rngs=rngs)
            for i, (before, after) in enumerate(pairwise((channels[0], *channels)))
        )
        self.mid_block = _mid_block(config, dtype=dtype, rngs=rngs)
        self.conv_norm_out = GroupNorm(channels[-1], groups=groups)
        self.conv_out = conv(channels[-1], outputs, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[B, H, W, 3]` in the configured pixel range to `[B, h, w, encoder_dim]`."""
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        return self.conv_out(nnx.silu(self.conv_norm_out(self.mid_block(x))))


class Decoder(nnx.Module):
    """Maps latents to pixels; `up_blocks.0` has the lowest resolution."""

    def __init__(self, config: VqganConfig, *, dtype: DTypeLike, rngs: nnx.Rngs) -> None:
        channels, groups = config.channels[::-1], config.groups
        self.conv_in = conv(config.encoder_dim or config.latent_dim, channels[0], dtype=dtype, rngs=rngs)
        self.mid_block = _mid_block(config, dtype=dtype, rngs=rngs)
        self.up_blocks = nnx.List(
            UpLevel(before, after, config=config, level=len(channels) - 1 - i, dtype=dtype, rngs=rngs)
            for i, (before, after) in enumerate(pairwise((channels[0], *channels)))
        )
        self.conv_norm_out = GroupNorm(channels[-1], groups=groups)
        self.conv_out = conv(channels[-1], 3, dtype=dtype, rngs=rngs)

    def __call__(self, z: jax.Array) -> jax.Array:
        """Map `[B, h, w, encoder_dim]` to `[B, H, W, 3]` in the configured pixel range, not clipped."""
        x = self.mid_block(self.conv_in(z))
        for level in self.up_blocks:
            x = level(x)
        return self.conv_out(nnx.silu(self.conv_norm_out(x)))


class Vqgan(nnx.Module):
    """Encoder and decoder; the codebook between them is separate (`tokenizer/quantizers/base.py`).

    `compute` is the dtype of the convolutions; parameters are float32.
    """

    def __init__(self, config: VqganConfig, *, rngs: nnx.Rngs, compute: Compute = "float32") -> None:
        dtype = jnp.dtype(compute)
        inner = config.encoder_dim or config.latent_dim
        self.pixel_range = config.pixel_range
        self.encoder = Encoder(config, dtype=dtype, rngs=rngs)
        self.quant_conv = conv(inner, config.latent_dim, size=1, dtype=dtype, rngs=rngs)
        self.post_quant_conv = conv(config.latent_dim, inner, size=1, dtype=dtype, rngs=rngs)
        self.decoder = Decoder(config, dtype=dtype, rngs=rngs)

    def latents(self, pixels: jax.Array) -> jax.Array:
        """Map pixels `[B, H, W, 3]` in [-1, 1] to latents `[B, h, w, D]`, float32, before quantization."""
        if self.pixel_range == "unsigned":
            pixels = (pixels + 1.0) / 2.0
        return self.quant_conv(self.encoder(pixels)).astype(jnp.float32)

    def pixels(self, latents: jax.Array) -> jax.Array:
        """Map quantized latents `[B, h, w, D]` to pixels `[B, H, W, 3]`, float32, not clipped to [-1, 1]."""
        pixels = self.decoder(self.post_quant_conv(latents)).astype(jnp.float32)
        return pixels * 2.0 - 1.0 if self.pixel_range == "unsigned" else pixels


def to_unit(frames: jax.Array) -> jax.Array:
    """Map uint8 frames to float32 in [-1, 1]."""
    return frames.astype(jnp.float32) / 127.5 - 1.0


def to_bytes(pixels: jax.Array) -> jax.Array:
    """Map float pixels to uint8: clipped to [-1, 1] and rounded to the nearest."""
    return jnp.round((jnp.clip(pixels, -1.0, 1.0) + 1.0) * 127.5).astype(jnp.uint8)


def abstract(config: VqganConfig, compute: Compute = "float32") -> tuple[nnx.GraphDef, nnx.State]:
    """Return the graph definition and the parameters' shapes without allocating them."""
    return _abstract(config, compute)


@lru_cache(maxsize=8)  # tracing takes half a second
def _abstract(config: VqganConfig, compute: Compute) -> tuple[nnx.GraphDef, nnx.State]:
    return nnx.split(nnx.eval_shape(lambda: Vqgan(config, rngs=nnx.Rngs(0), compute=compute)))


def init_params(config: VqganConfig, seed: int) -> nnx.State:
    """Return random parameters, float32: kernels normal with variance 1 / fan-in, biases 0, scales 1.

    Sampled on the host by one generator in the order of the tree, without compilation.
    """
    rng = np.random.default_rng(seed)

    def draw(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> jax.Array:
        if len(leaf.shape) == 1:
            return jnp.full(leaf.shape, 1.0 if "scale" in jax.tree_util.keystr(path) else 0.0, jnp.float32)
        fan_in = math.prod(leaf.shape[:-1])
        return jnp.asarray(rng.standard_normal(leaf.shape, np.float32) / np.float32(math.sqrt(fan_in)))

    return jax.tree.map_with_path(draw, abstract(config)[1])


def parameter_count(config: VqganConfig) -> tuple[int, int]:
    """Return the numbers of parameters and of tensors, codebook included, without allocating them."""
    leaves = jax.tree.leaves(abstract(config)[1])
    return sum(leaf.size for leaf in leaves) + config.codebook_size * config.latent_dim, len(leaves) + 1
