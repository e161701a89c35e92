"""Reads and writes config.json of Hugging Face's transformers, of versions 4 and 5.

Version 5 has `rope_parameters: {rope_type, rope_theta, ...}`; version 4 has `rope_theta` and `rope_scaling`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

from schemas.errors import ConfigError
from trainer.model.llama.config import LlamaConfig
from trainer.model.llama.rope_scaling import RopeKind, RopeScaling
from trainer.published.configs.fields import Fields

_BIASED, _NORMED = "Qwen2ForCausalLM", "Qwen3ForCausalLM"
_LLAMA, _MISTRAL = "LlamaForCausalLM", "MistralForCausalLM"
ARCHITECTURES = (_LLAMA, _MISTRAL, _BIASED, _NORMED)
_TYPES = {_LLAMA: "llama", _MISTRAL: "mistral", _BIASED: "qwen2", _NORMED: "qwen3"}


def read_config(values: Mapping[str, Any]) -> LlamaConfig:
    """Return the model that a config.json describes; raises ConfigError if it needs what Longreel does not have."""
    fields = Fields(values)
    architecture = _architecture(fields, values)
    _require_supported(fields, values, architecture)
    dim, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    has_bias = fields.flag("attention_bias", default=False)
    positions = fields.size("max_position_embeddings", 2048)
    theta, scaling = _rope(fields, positions)
    return LlamaConfig(
        dim=dim,
        layers=fields.size("num_hidden_layers"),
        heads=heads,
        kv_heads=fields.size("num_key_value_heads", heads),
        head_dim=fields.size("head_dim", max(dim // heads, 1)),
        ff_dim=fields.size("intermediate_size"),
        norm_eps=fields.number("rms_norm_eps", 1e-6),
        tied_heads=fields.flag("tie_word_embeddings", default=False),
        qkv_bias=has_bias or architecture == _BIASED,
        output_bias=has_bias and architecture != _BIASED,
        qk_norm=architecture == _NORMED,
        rope_theta=theta,
        rope_scaling=scaling,
        max_positions=positions,
    )


def _architecture(fields: Fields, values: Mapping[str, Any]) -> str:
    named = values.get("architectures")
    by_type = {kind: name for name, kind in _TYPES.items()}
    first = named[0] if isinstance(named, list) and named else by_type.get(str(values.get("model_type")))
    if first not in ARCHITECTURES:
        shown = first or values.get("model_type")
        raise ConfigError(f"the architecture {shown!r:.80} is not supported; supported are {', '.join(ARCHITECTURES)}")
    return str(first)


def _require_supported(fields: Fields, values: Mapping[str, Any], architecture: str) -> None:
    if fields.has("quantization_config"):
        raise ConfigError(
            "its weights are quantized (quantization_config), which is supported in GGUF files only: "
            "import the original weights, or a GGUF file"
        )
    if (act := fields.text("hidden_act", "silu")) not in ("silu", "swish"):
        raise ConfigError(f"hidden_act must be silu, got {act!r}")
    if fields.flag("mlp_bias", default=False):
        raise ConfigError("mlp_bias is true: a feed-forward with biases is not supported")
    kinds = values.get("layer_types")
    uses = fields.flag("use_sliding_window", default=architecture == _MISTRAL)
    has_window = uses and fields.has("sliding_window") and architecture != _LLAMA
    if has_window or (isinstance(kinds, list) and "sliding_attention" in kinds):
        raise ConfigError(
            f"its attention sees a sliding window of {values.get('sliding_window')} tokens, and Longreel's the whole "
            "document, for which these weights were not trained. To import them all the same, set sliding_window to "
            "null in config.json"
        )


def _rope(fields: Fields, positions: int) -> tuple[float, RopeScaling | None]:
    """Return the rotary base and the scaling."""
    given = fields.below("rope_parameters" if fields.has("rope_parameters") else "rope_scaling")
    if given.has("full_attention"):
        given = given.below("full_attention")
    theta = given.number("rope_theta", fields.number("rope_theta", 10000.0))
    if given.number("partial_rotary_factor", fields.number("partial_rotary_factor", 1.0)) != 1.0:
        raise ConfigError("partial_rotary_factor must be 1: rotating a part of each head is not supported")
    kind = given.text("rope_type", given.text("type", "default"))
    original = given.size("original_max_position_embeddings", _original(fields, positions))
    if kind == "default":
        return theta, None
    if kind == "linear":
        return theta, RopeScaling(kind="linear", factor=given.number("factor"))
    if kind == "llama3":
        return theta, RopeScaling(
            kind="llama3",
            factor=given.number("factor"),
            original_positions=original,
            low_frequency_factor=given.number("low_freq_factor"),
            high_frequency_factor=given.number("high_freq_factor"),
        )
    if kind == "yarn":
        return theta, _yarn(given, original)
    if kind == "longrope":
        return theta, _longrope(given, original, positions)
    # RopeScaling explains why a kind is not supported.
    return theta, RopeScaling(kind=cast(RopeKind, kind), factor=given.number("factor", 1.0))


def _original(fields: Fields, positions: int) -> int:
    return fields.size("original_max_position_embeddings", positions)


def _yarn(given: Fields, original: int) -> RopeScaling:
    factor = given.number("factor")
    attention = given.number("attention_factor") if given.has("attention_factor") else None
    if attention is None and given.has("mscale") and given.has("mscale_all_dim"):
        attention = _mscale(factor, given.number("mscale")) / _mscale(factor, given.number("mscale_all_dim"))
    return RopeScaling(
        kind="yarn",
        factor=factor,
        original_positions=original,
        attention_factor=attention,
        beta_fast=given.number("beta_fast", 32.0),
        beta_slow=given.number("beta_slow", 1.0),
        truncate=given.flag("truncate", default=True),
    )


def _mscale(factor: float, scale: float) -> float:
    return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0


def _longrope(given: Fields, original: int, positions: int) -> RopeScaling:
    short, long = given.numbers("short_factor"), given.numbers("long_factor")
    if short != long and positions > original:
        raise ConfigError(
            f"its rotary embedding has one list of factors for up to {original} tokens and another beyond, so the keys "
            "of a document depend on its length, which is not supported. Make short_factor and long_factor equal in "
            "config.json to use one list throughout"
        )
    return RopeScaling(
        kind="longrope",
        factor=given.number("factor", positions / original),
        original_positions=original,
        attention_factor=given.number("attention_factor") if given.has("attention_factor") else None,
        divisors=short,
    )


def write_config(config: LlamaConfig, *, vocab_size: int, bos_id: int, eos_id: int, dtype: str) -> dict[str, Any]:
    """Return the config.json of a model, which transformers 4 and 5, vLLM and llama.cpp's converter read."""
    architecture = _exported_architecture(config)
    values: dict[str, Any] = {
        "architectures": [architecture],
        "model_type": _TYPES[architecture],
        "vocab_size": vocab_size,
        "hidden_size": config.dim,
        "intermediate_size": config.ff_dim,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.max_positions,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": _rope_to_dict(config.rope_scaling),
        "tie_word_embeddings": config.tied_heads,
        "attention_bias": config.output_bias,
        "attention_dropout": 0.0,
        "bos_token_id": bos_id,
        "eos_token_id": eos_id,
        "torch_dtype": dtype,
        "use_cache": True,
    }
    if architecture == _LLAMA:
        values["mlp_bias"] = False
    if architecture in (_BIASED, _NORMED):
        values |= {"use_sliding_window": False, "sliding_window": None}
    return values


def exported_type(config: LlamaConfig) -> str:
    """Return the model type that expresses a model: llama, qwen2 or qwen3; raises ConfigError if there is none."""
    return _TYPES[_exported_architecture(config)]


def _exported_architecture(config: LlamaConfig) -> str:
    if config.qk_norm and config.qkv_bias == config.output_bias:
        return _NORMED
    if not config.qk_norm and config.qkv_bias and not config.output_bias:
        if config.head_dim * config.heads != config.dim:
            raise ConfigError(
                f"a model with biases on queries, keys and values is exported as {_BIASED}, whose head_dim is dim / "
                f"heads; this one has head_dim {config.head_dim}, dim {config.dim} and {config.heads} heads"
            )
        return _BIASED
    if not config.qk_norm and config.qkv_bias == config.output_bias:
        return _LLAMA
    raise ConfigError(
        f"no architecture of transformers has qkv_bias = {config.qkv_bias}, output_bias = {config.output_bias} and "
        f"qk_norm = {config.qk_norm} together, so this model cannot be exported"
    )


def _rope_to_dict(scaling: RopeScaling | None) -> dict[str, Any] | None:
    if scaling is None:
        return None
    values: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind != "linear":
        values["original_max_position_embeddings"] = scaling.original_positions
    if scaling.kind == "llama3":
        values |= {"low_freq_factor": scaling.low_frequency_factor, "high_freq_factor": scaling.high_frequency_factor}
    if scaling.kind == "yarn":
        values |= {"beta_fast": scaling.beta_fast, "beta_slow": scaling.beta_slow, "truncate": scaling.truncate}
    if scaling.kind in ("yarn", "longrope") and scaling.attention_factor is not None:
        values["attention_factor"] = scaling.attention_factor
    if scaling.kind == "longrope":
        values |= {"short_factor": list(scaling.divisors), "long_factor": list(scaling.divisors)}
    return values
