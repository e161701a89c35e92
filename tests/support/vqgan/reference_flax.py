"""Independent implementations of the published Flax VQGANs in Linen, whose automatic names are the published ones.

Based only on the papers and the published names; no code is shared with `tokenizer/`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn


def randomized(tree: Any, seed: int) -> Any:
    """Return a tree of random values: initial biases (0) and scales (1) would hide errors."""
    rng = np.random.default_rng(seed)

    def draw(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        values = rng.standard_normal(leaf.shape)
        last = path[-1].key
        if last in ("bias", "scale"):
            return (0.1 * values + (last == "scale")).astype(np.float32)
        return (values / np.sqrt(max(np.prod(leaf.shape[:-1]) if len(leaf.shape) == 4 else 1, 1))).astype(np.float32)

    return jax.tree.map_with_path(draw, tree)


class ResnetBlock(nn.Module):
    out: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        h = nn.Conv(self.out, (3, 3))(nn.silu(nn.GroupNorm()(x)))
        h = nn.Conv(self.out, (3, 3))(nn.silu(nn.GroupNorm()(h)))
        return h + (x if x.shape[-1] == self.out else nn.Conv(self.out, (1, 1))(x))


class Downsample(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Conv(x.shape[-1], (3, 3), strides=2, padding=((0, 1), (0, 1)))(x)


class Upsample(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Conv(x.shape[-1], (3, 3))(x.repeat(2, 1).repeat(2, 2))


class DownsamplingBlock(nn.Module):
    out: int
    blocks: int
    last: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(self.blocks):
            x = ResnetBlock(self.out)(x)
        return x if self.last else Downsample()(x)


class UpsamplingBlock(nn.Module):
    out: int
    blocks: int
    last: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(self.blocks):
            x = ResnetBlock(self.out)(x)
        return x if self.last else Upsample()(x)


class MidBlock(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = ResnetBlock(x.shape[-1])(x)
        return ResnetBlock(x.shape[-1])(x)


class LwmEncoder(nn.Module):
    channels: tuple[int, ...]
    blocks: int
    z: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Conv(self.channels[0], (3, 3))(x)
        for i, out in enumerate(self.channels):
            last = i == len(self.channels) - 1
            x = DownsamplingBlock(out, self.blocks, last)(x)
        x = MidBlock()(x)
        return nn.Conv(self.z, (3, 3))(nn.silu(nn.GroupNorm()(x)))


class LwmDecoder(nn.Module):
    channels: tuple[int, ...]
    blocks: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = MidBlock()(nn.Conv(self.channels[-1], (3, 3))(x))
        for i in reversed(range(len(self.channels))):
            x = UpsamplingBlock(self.channels[i], self.blocks + 1, i == 0)(x)
        return nn.Conv(3, (3, 3))(nn.silu(nn.GroupNorm()(x)))


class Codebook(nn.Module):
    codes: int
    dim: int
    called: str

    @nn.compact
    def __call__(self) -> jax.Array:
        return self.param(self.called, nn.initializers.normal(), (self.codes, self.dim))


def nearest(z: jax.Array, codebook: jax.Array) -> jax.Array:
    """Map latents `[B, h, w, D]` to the indices of the nearest codes."""
    return jnp.square(z[..., None, :] - codebook).sum(-1).argmin(-1)


class Lwm(nn.Module):
    """LWM's model; pixels are in [-1, 1]."""

    channels: tuple[int, ...]
    blocks: int
    z: int
    codes: int
    dim: int

    def setup(self) -> None:
        shape = (self.channels, self.blocks)
        self.encoder, self.decoder = LwmEncoder(*shape, self.z), LwmDecoder(*shape)
        self.quantize = Codebook(self.codes, self.dim, "embeddings")
        self.quant_conv, self.post_quant_conv = nn.Conv(self.dim, (1, 1)), nn.Conv(self.z, (1, 1))

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Map pixels to codes `[B, h, w]` and to the pixels decoded from them."""
        z, codebook = self.quant_conv(self.encoder(x)), self.quantize()
        codes = nearest(z, codebook)
        return codes, self.decoder(self.post_quant_conv(codebook[codes]))


class ResBlock(nn.Module):
    """MaskGIT's residual block: no biases, and the shortcut is applied to the output of the block."""

    out: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        h = nn.Conv(self.out, (3, 3), use_bias=False)(nn.silu(nn.GroupNorm()(x)))
        h = nn.Conv(self.out, (3, 3), use_bias=False)(nn.silu(nn.GroupNorm()(h)))
        return h + (x if x.shape[-1] == self.out else nn.Conv(self.out, (1, 1), use_bias=False)(h))


class MaskgitEncoder(nn.Module):
    channels: tuple[int, ...]
    blocks: int
    dim: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Conv(self.channels[0], (3, 3), use_bias=False)(x)
        for i, out in enumerate(self.channels):
            for _ in range(self.blocks):
                x = ResBlock(out)(x)
            x = nn.avg_pool(x, (2, 2), (2, 2)) if i < len(self.channels) - 1 else x
        for _ in range(self.blocks):
            x = ResBlock(self.channels[-1])(x)
        return nn.Conv(self.dim, (1, 1))(nn.silu(nn.GroupNorm()(x)))


class MaskgitDecoder(nn.Module):
    channels: tuple[int, ...]
    blocks: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Conv(self.channels[-1], (3, 3))(x)
        for _ in range(self.blocks):
            x = ResBlock(self.channels[-1])(x)
        for i in reversed(range(len(self.channels))):
            for _ in range(self.blocks):
                x = ResBlock(self.channels[i])(x)
            x = nn.Conv(self.channels[i], (3, 3))(x.repeat(2, 1).repeat(2, 2)) if i else x
        return nn.Conv(3, (3, 3))(nn.silu(nn.GroupNorm()(x)))


class Maskgit(nn.Module):
    """MaskGIT's model; pixels are in [0, 1]."""

    channels: tuple[int, ...]
    blocks: int
    codes: int
    dim: int

    def setup(self) -> None:
        self.encoder = MaskgitEncoder(self.channels, self.blocks, self.dim)
        self.decoder = MaskgitDecoder(self.channels, self.blocks)
        self.quantizer = Codebook(self.codes, self.dim, "codebook")

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Map pixels to codes `[B, h, w]` and to the pixels decoded from them."""
        z, codebook = self.encoder(x), self.quantizer()
        codes = nearest(z, codebook)
        return codes, self.decoder(codebook[codes])
