"""Reads the model that GGUF metadata describes; keys: ggml/docs/gguf.md."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from schemas.errors import ConfigError
from trainer.model.llama.config import LlamaConfig
from trainer.model.llama.rope_scaling import RopeScaling
from trainer.published.configs.fields import Fields
from trainer.published.files.tensor import Tensors

ARCHITECTURES = ("llama", "qwen2", "qwen3")
_FREQUENCIES = "rope_freqs.weight"  # divisors of the frequencies, LLaMA 3.1's scaling as a tensor


def read_metadata(metadata: Mapping[str, Any], tensors: Tensors) -> LlamaConfig:
    """Return the model; biases, norms and tied heads follow from which tensors exist."""
    architecture = Fields(metadata).text("general.architecture")
    if architecture not in ARCHITECTURES:
        raise ConfigError(
            f"the architecture {architecture!r:.80} is not supported; supported are {', '.join(ARCHITECTURES)}"
        )
    fields = Fields(metadata, prefix=f"{architecture}.")
    for name in ("expert_count", "attention.sliding_window"):
        if fields.has(name) and fields.number(name) > 0:
            raise ConfigError(f"{architecture}.{name} is {fields.number(name):.0f}, which is not supported")
    dim, heads = fields.size("embedding_length"), fields.size("attention.head_count")
    head_dim = fields.size("attention.key_length", max(dim // heads, 1))
    if (turned := fields.size("rope.dimension_count", head_dim)) != head_dim:
        raise ConfigError(f"rope.dimension_count must be the size of a head, {head_dim}, got {turned}")
    if (values := fields.size("attention.value_length", head_dim)) != head_dim:
        raise ConfigError(f"attention.value_length must be that of keys, {head_dim}, got {values}")
    return LlamaConfig(
        dim=dim,
        layers=fields.size("block_count"),
        heads=heads,
        kv_heads=fields.size("attention.head_count_kv", heads),
        head_dim=head_dim,
        ff_dim=fields.size("feed_forward_length"),
        norm_eps=_short(fields.number("attention.layer_norm_rms_epsilon")),
        tied_heads="output.weight" not in tensors,
        qkv_bias="blk.0.attn_q.bias" in tensors,
        output_bias="blk.0.attn_output.bias" in tensors,
        qk_norm="blk.0.attn_q_norm.weight" in tensors,
        rope_theta=_short(fields.number("rope.freq_base", 10000.0)),
        rope_scaling=_scaling(fields, tensors, head_dim=head_dim),
        max_positions=fields.size("context_length", 2048),
    )


def _short(value: float) -> float:
    """Return the decimal that was meant by a number stored as float32, for example 1e-05 for 9.99999974e-06."""
    return float(str(np.float32(value)))


def _scaling(fields: Fields, tensors: Tensors, *, head_dim: int) -> RopeScaling | None:
    if (divisors := tensors.get(_FREQUENCIES)) is not None:
        if divisors.shape != (head_dim // 2,):
            raise ConfigError(f"{_FREQUENCIES} must have the shape ({head_dim // 2},), got {divisors.shape}")
        values = tuple(float(x) for x in divisors.rows(0, head_dim // 2))
        # llama.cpp writes LLaMA 3.1's scaling this way; cosines and sines are not scaled.
        return RopeScaling(
            kind="longrope", factor=max(values), original_positions=8192, attention_factor=1.0, divisors=values
        )
    kind = fields.text("rope.scaling.type", "linear" if fields.has("rope.scale_linear") else "none")
    if kind == "none":
        return None
    factor = _short(fields.number("rope.scaling.factor", fields.number("rope.scale_linear", 1.0)))
    if kind == "linear":
        return RopeScaling(kind="linear", factor=factor)
    if kind != "yarn":
        raise ConfigError(f"rope.scaling.type must be none, linear or yarn, got {kind!r:.80}")
    amplitude = _short(fields.number("rope.scaling.attn_factor", 1.0)) * (0.1 * math.log(max(factor, 1.0)) + 1.0)
    return RopeScaling(
        kind="yarn",
        factor=factor,
        original_positions=fields.size("rope.scaling.original_context_length"),
        attention_factor=amplitude,
        beta_fast=_short(fields.number("rope.scaling.yarn_beta_fast", 32.0)),
        beta_slow=_short(fields.number("rope.scaling.yarn_beta_slow", 1.0)),
    )
