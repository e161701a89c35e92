"""An independent implementation of the published torch VQGANs in NumPy, float64, channels first.

Based only on the papers and the published names; no code is shared with `tokenizer/`. One structure has three sets of
names. A tensor is created when it is first used, so the tensors of a file are those that the computation needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass
class Tensors:
    """Random weights by name, float32 as in a file."""

    seed: int
    drawn: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def get(self, name: str, *shape: int) -> Array:
        if name not in self.drawn:
            rng = np.random.default_rng([self.seed, len(self.drawn)])
            values = rng.standard_normal(shape)
            if name.endswith(".bias"):
                values *= 0.1
            elif len(shape) == 1:
                values = 1 + 0.1 * values
            else:
                values /= np.sqrt(np.prod(shape[1:]))
            self.drawn[name] = values.astype(np.float32)
        assert self.drawn[name].shape == shape
        return self.drawn[name].astype(np.float64)


def conv(t: Tensors, name: str, x: Array, out: int, *, size: int = 3, stride: int = 1) -> Array:
    weight, bias = t.get(f"{name}.weight", out, x.shape[1], size, size), t.get(f"{name}.bias", out)
    if stride == 1:
        x = np.pad(x, ((0, 0), (0, 0), (size // 2, size // 2), (size // 2, size // 2)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))[:, :, ::stride, ::stride]
    return np.einsum("bchwij,ocij->bohw", windows, weight, optimize=True) + bias[:, None, None]


def norm(t: Tensors, name: str, x: Array) -> Array:
    b, c = x.shape[:2]
    groups = x.reshape(b, 32, -1)
    mean, var = groups.mean(-1, keepdims=True), groups.var(-1, keepdims=True)
    x = ((groups - mean) / np.sqrt(var + 1e-6)).reshape(x.shape)
    return x * t.get(f"{name}.weight", c)[:, None, None] + t.get(f"{name}.bias", c)[:, None, None]


def swish(x: Array) -> Array:
    return x / (1 + np.exp(-x))


@dataclass(frozen=True)
class Names:
    """The names of a format; `level` counts from the full resolution, `step` in the order of the decoder."""

    down: str
    down_attention: str
    down_half: str
    mid: tuple[str, str, str]
    up: Callable[[int, int, int], str]
    up_attention: Callable[[int, int, int], str]
    up_double: Callable[[int, int], str]
    shortcut: str = "nin_shortcut"
    norm_out: str = "norm_out"
    attention: tuple[str, str, str, str, str] = ("norm", "q", "k", "v", "proj_out")
    linear: bool = False  # the weights of attention are matrices, not 1x1 convolutions


TAMING = Names(
    down="down.{}.block.{}",
    down_attention="down.{}.attn.{}",
    down_half="down.{}.downsample.conv",
    mid=("mid.block_1", "mid.attn_1", "mid.block_2"),
    up=lambda level, step, j: f"up.{level}.block.{j}",
    up_attention=lambda level, step, j: f"up.{level}.attn.{j}",
    up_double=lambda level, step: f"up.{level}.upsample.conv",
)
LLAMAGEN = Names(
    down="conv_blocks.{}.res.{}",
    down_attention="conv_blocks.{}.attn.{}",
    down_half="conv_blocks.{}.downsample.conv",
    mid=("mid.0", "mid.1", "mid.2"),
    up=lambda level, step, j: f"conv_blocks.{step}.res.{j}",
    up_attention=lambda level, step, j: f"conv_blocks.{step}.attn.{j}",
    up_double=lambda level, step: f"conv_blocks.{step}.upsample.conv",
)
AMUSED = Names(
    down="down_blocks.{}.resnets.{}",
    down_attention="down_blocks.{}.attentions.{}",
    down_half="down_blocks.{}.downsamplers.0.conv",
    mid=("mid_block.resnets.0", "mid_block.attentions.0", "mid_block.resnets.1"),
    up=lambda level, step, j: f"up_blocks.{step}.resnets.{j}",
    up_attention=lambda level, step, j: f"up_blocks.{step}.attentions.{j}",
    up_double=lambda level, step: f"up_blocks.{step}.upsamplers.0.conv",
    shortcut="conv_shortcut",
    norm_out="conv_norm_out",
    attention=("group_norm", "to_q", "to_k", "to_v", "to_out.0"),
    linear=True,
)


@dataclass
class TorchVqgan:
    names: Names
    tensors: Tensors
    channels: tuple[int, ...]
    blocks: int
    attention: tuple[int, ...]
    mid_attention: bool
    encoder_dim: int
    latent_dim: int
    codes: int
    lookup: str = "distance"  # or "product", or "angle"

    def codebook(self) -> Array:
        codes = self.tensors.get("quantize.embedding.weight", self.codes, self.latent_dim)
        return codes / np.linalg.norm(codes, axis=1, keepdims=True) if self.lookup == "angle" else codes

    def encode(self, pixels: Array) -> NDArray[np.int64]:
        """Map `[B, H, W, 3]` in [-1, 1] to codes `[B, h * w]`."""
        t, names, p = self.tensors, self.names, "encoder."
        x = conv(t, "encoder.conv_in", pixels.transpose(0, 3, 1, 2), self.channels[0])
        for i, channels in enumerate(self.channels):
            for j in range(self.blocks):
                x = self._resnet(p + names.down.format(i, j), x, channels)
                if i in self.attention:
                    x = self._attend(p + names.down_attention.format(i, j), x)
            if i < len(self.channels) - 1:
                x = np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1)))
                x = conv(t, p + names.down_half.format(i), x, channels, stride=2)
        x = swish(norm(t, p + names.norm_out, self._mid(p, x)))
        x = conv(t, "quant_conv", conv(t, "encoder.conv_out", x, self.encoder_dim), self.latent_dim, size=1)
        z, codes = x.transpose(0, 2, 3, 1).reshape(x.shape[0], -1, self.latent_dim), self.codebook()
        if self.lookup == "product":
            return (z @ codes.T).argmax(-1)
        if self.lookup == "angle":
            z = z / np.linalg.norm(z, axis=-1, keepdims=True)
        return ((z[:, :, None] - codes) ** 2).sum(-1).argmin(-1)

    def decode(self, codes: NDArray[np.int64], grid: tuple[int, int]) -> Array:
        """Map codes to pixels `[B, H, W, 3]`, not clipped."""
        t, names, p, top = self.tensors, self.names, "decoder.", len(self.channels) - 1
        x = self.codebook()[codes].reshape(len(codes), *grid, -1).transpose(0, 3, 1, 2)
        x = conv(t, "post_quant_conv", x, self.encoder_dim, size=1)
        x = self._mid(p, conv(t, "decoder.conv_in", x, self.channels[-1]))
        for step, level in enumerate(range(top, -1, -1)):
            for j in range(self.blocks + 1):
                x = self._resnet(p + names.up(level, step, j), x, self.channels[level])
                if level in self.attention:
                    x = self._attend(p + names.up_attention(level, step, j), x)
            if level:
                x = conv(t, p + names.up_double(level, step), x.repeat(2, 2).repeat(2, 3), self.channels[level])
        x = swish(norm(t, p + names.norm_out, x))
        return conv(t, "decoder.conv_out", x, 3).transpose(0, 2, 3, 1)

    def _mid(self, prefix: str, x: Array) -> Array:
        first, attention, second = (prefix + name for name in self.names.mid)
        x = self._resnet(first, x, x.shape[1])
        return self._resnet(second, self._attend(attention, x) if self.mid_attention else x, x.shape[1])

    def _resnet(self, name: str, x: Array, out: int) -> Array:
        t = self.tensors
        h = conv(t, f"{name}.conv1", swish(norm(t, f"{name}.norm1", x)), out)
        h = conv(t, f"{name}.conv2", swish(norm(t, f"{name}.norm2", h)), out)
        return h + (x if x.shape[1] == out else conv(t, f"{name}.{self.names.shortcut}", x, out, size=1))

    def _attend(self, name: str, x: Array) -> Array:
        b, c, h, w = x.shape
        first, *words = self.names.attention
        places = norm(self.tensors, f"{name}.{first}", x).reshape(b, c, h * w)
        q, k, v = (self._matrix(f"{name}.{word}", places) for word in words[:3])
        logits = np.einsum("bcq,bck->bqk", q, k) / np.sqrt(c)
        shares = np.exp(logits - logits.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        return x + self._matrix(f"{name}.{words[3]}", np.einsum("bqk,bck->bcq", shares, v)).reshape(x.shape)

    def _matrix(self, name: str, x: Array) -> Array:
        c = x.shape[1]
        shape = (c, c) if self.names.linear else (c, c, 1, 1)
        return np.einsum("oc,bcn->bon", self.tensors.get(f"{name}.weight", *shape).reshape(c, c), x) + self.tensors.get(
            f"{name}.bias", c
        ).reshape(c, 1)
