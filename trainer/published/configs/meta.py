"""Reads params.json, which Meta publishes with LLaMA's consolidated shards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.model.llama.config import LlamaConfig
from trainer.model.llama.rope_scaling import RopeScaling
from trainer.published.configs.fields import Fields

_ORIGINAL, _SCALED, _LLAMA_3 = 8192, 131072, 5e5  # contexts of LLaMA 3 and 3.1; the rotary base of both


def read_params(values: Mapping[str, Any], *, ff_dim: int) -> LlamaConfig:
    """Return the model; the file does not give the feed-forward's size, which the shape of `w1` does."""
    fields = Fields(values)
    dim, heads = fields.size("dim"), fields.size("n_heads")
    theta = fields.number("rope_theta", 10000.0)
    is_scaled = fields.flag("use_scaled_rope", default=False)
    context = _SCALED if is_scaled else _ORIGINAL if theta >= _LLAMA_3 else 4096
    return LlamaConfig(
        dim=dim,
        layers=fields.size("n_layers"),
        heads=heads,
        kv_heads=fields.size("n_kv_heads", heads),
        head_dim=fields.size("head_dim", max(dim // heads, 1)),
        ff_dim=ff_dim,
        norm_eps=fields.number("norm_eps", 1e-5),
        rope_theta=theta,
        rope_scaling=_scaling(fields) if is_scaled else None,
        max_positions=fields.size("max_seq_len", context),
    )


def _scaling(fields: Fields) -> RopeScaling:
    return RopeScaling(
        kind="llama3",
        factor=fields.number("rope_scaling_factor", 8.0),
        original_positions=_ORIGINAL,
        low_frequency_factor=fields.number("low_freq_factor", 1.0),
        high_frequency_factor=fields.number("high_freq_factor", 4.0),
    )
