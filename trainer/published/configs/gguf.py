"""Reads and writes the metadata of GGUF that describes a model; keys: ggml/docs/gguf.md."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError
from schemas.weight_files.gguf import Value
from trainer.model.llama.config import LlamaConfig
from trainer.model.llama.rope_scaling import RopeScaling, frequencies
from trainer.published.configs.fields import Fields
from trainer.published.configs.hugging_face import exported_type
from trainer.published.files.tensor import Tensors

ARCHITECTURES = ("llama", "qwen2", "qwen3")
FREQUENCIES = "rope_freqs.weight"  # divisors of the frequencies, LLaMA 3.1's scaling as a tensor


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
    if (divisors := tensors.get(FREQUENCIES)) is not None:
        if divisors.shape != (head_dim // 2,):
            raise ConfigError(f"{FREQUENCIES} must have the shape ({head_dim // 2},), got {divisors.shape}")
        values = tuple(float(x) for x in divisors.rows(0, head_dim // 2))
        # llama.cpp's converter writes LLaMA 3.1's scaling this way; cosines and sines are not scaled then.
        amplitude = _short(fields.number("rope.scaling.attn_factor", 1.0))
        return RopeScaling(
            kind="longrope", factor=max(values), original_positions=8192, attention_factor=amplitude, divisors=values
        )
    kind = fields.text("rope.scaling.type", "linear" if fields.has("rope.scale_linear") else "none")
    if kind == "none":
        return None
    factor = _short(fields.number("rope.scaling.factor", fields.number("rope.scale_linear", 1.0)))
    if kind == "linear":
        return RopeScaling(kind="linear", factor=factor)
    if kind != "yarn":
        raise ConfigError(f"rope.scaling.type must be none, linear or yarn, got {kind!r:.80}")
    attention = _short(fields.number("rope.scaling.attn_factor", 1.0))
    return RopeScaling(
        kind="yarn",
        factor=factor,
        original_positions=fields.size("rope.scaling.original_context_length"),
        attention_factor=None if attention == 1.0 else attention * _yarn_amplitude(factor),
        beta_fast=_short(fields.number("rope.scaling.yarn_beta_fast", 32.0)),
        beta_slow=_short(fields.number("rope.scaling.yarn_beta_slow", 1.0)),
    )


def _yarn_amplitude(factor: float) -> float:
    """Return the factor on cosines and sines that llama.cpp applies besides `attn_factor`."""
    return 0.1 * math.log(max(factor, 1.0)) + 1.0


def write_metadata(config: LlamaConfig, *, vocab_size: int) -> dict[str, Value]:
    """Return the metadata of a model; raises ConfigError if llama.cpp has none like it."""
    architecture = exported_type(config)
    if architecture == "qwen3" and config.qkv_bias:
        raise ConfigError("llama.cpp's qwen3 has no biases, so this model cannot be exported: use --format hf")
    values: dict[str, Value] = {
        "vocab_size": vocab_size,
        "context_length": config.max_positions,
        "embedding_length": config.dim,
        "block_count": config.layers,
        "feed_forward_length": config.ff_dim,
        "attention.head_count": config.heads,
        "attention.head_count_kv": config.kv_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.layer_norm_rms_epsilon": config.norm_eps,
        "rope.dimension_count": config.head_dim,
        "rope.freq_base": config.rope_theta,
    }
    values |= _scaling_values(config, architecture)
    return {"general.architecture": architecture} | {f"{architecture}.{key}": value for key, value in values.items()}


def _scaling_values(config: LlamaConfig, architecture: str) -> dict[str, Value]:
    scaling = config.rope_scaling
    if scaling is None:
        return {}
    if scaling.kind == "linear":
        return {"rope.scaling.type": "linear", "rope.scaling.factor": scaling.factor}
    if scaling.kind != "yarn":
        if architecture != "llama":
            raise ConfigError(
                f"llama.cpp's {architecture} has no rope_scaling of the kind {scaling.kind}: use --format hf"
            )
        return {"rope.scaling.attn_factor": scaling.amplitude}  # with the tensor of `frequency_divisors`
    if not scaling.truncate:
        raise ConfigError("llama.cpp's yarn has no truncate = false, so this model cannot be exported: use --format hf")
    return {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": scaling.factor,
        "rope.scaling.original_context_length": scaling.original_positions,
        "rope.scaling.attn_factor": scaling.amplitude / _yarn_amplitude(scaling.factor),
        "rope.scaling.yarn_beta_fast": scaling.beta_fast,
        "rope.scaling.yarn_beta_slow": scaling.beta_slow,
    }


def frequency_divisors(config: LlamaConfig) -> NDArray[np.float32] | None:
    """Return the values of `rope_freqs.weight`, [H/2]; None for kinds that the metadata express."""
    scaling = config.rope_scaling
    if scaling is None or scaling.kind in ("linear", "yarn"):
        return None
    plain, scaled = (
        frequencies(head_dim=config.head_dim, theta=config.rope_theta, scaling=each) for each in (None, scaling)
    )
    return (plain / scaled).astype(np.float32)
