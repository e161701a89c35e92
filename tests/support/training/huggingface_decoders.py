"""Random small decoders of the published families: in transformers, and the same one as a configuration of `llama`.

Imported only where torch and transformers are installed (the extra `reference`).
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from flax import nnx
from numpy.typing import NDArray

from trainer.model.llama.config import LlamaConfig
from trainer.model.llama.rope_scaling import RopeScaling

TEXT_SIZE = 61
PRETRAINED = 24  # context of the pretraining, for rope_scaling; documents are shorter and longer

Tree = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One random decoder, by its configurations in both implementations."""

    config: LlamaConfig
    theirs: transformers.PretrainedConfig

    def replaced(self, **changes: Any) -> LlamaConfig:
        """Return our configuration with other values."""
        return dataclasses.replace(self.config, **changes)

    def published(self, seed: int) -> Any:
        """Return the model of transformers with random weights, biases and norms included, in float32."""
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(self.theirs, attn_implementation="eager").eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                size = 0.2 if parameter.ndim == 1 else parameter.shape[-1] ** -0.5
                parameter.copy_(torch.randn_like(parameter) * size + ("norm" in name and parameter.ndim == 1))
        return model


def pair(family: str, seed: int) -> Pair:
    """Draw the sizes of a decoder of `family`, and the kinds of rotary scaling its published models have."""
    rng = random.Random(f"{family} {seed}")
    heads = rng.choice([2, 4, 8])
    head_dim = rng.choice([8, 16])
    own_head_dim = family in ("llama_3", "mistral", "qwen_3") and rng.random() < 0.7
    sizes = {
        "dim": heads * head_dim * (2 if own_head_dim else 1),
        "heads": heads,
        "kv_heads": heads if family in ("llama_2", "lwm") else rng.choice([2, heads]),
        "head_dim": head_dim,
        "layers": rng.randint(1, 3),
        "ff_dim": rng.choice([24, 40, 64]),
    }
    about = _FAMILIES[family](rng)
    kind = rng.choice(_KINDS[family])
    scaling = None if kind is None else _scaling(kind, head_dim, rng)
    theta = rng.choice([1e4, 5e5, 5e7])
    config = LlamaConfig(
        **sizes, **about.ours, rope_theta=theta, rope_scaling=scaling, max_positions=128, tile=16, chunk=16
    )
    return Pair(config=config, theirs=_theirs(config, about))


@dataclass(frozen=True, kw_only=True)
class _About:
    """The fields of a family beyond its sizes, and its class of configurations in transformers."""

    config_class: Any
    ours: Mapping[str, Any]
    theirs: Mapping[str, Any]


def _llama(rng: random.Random, *, eps: float, tied: bool = False, bias: bool = False) -> _About:
    del rng
    ours = {"norm_eps": eps, "tied_heads": tied, "qkv_bias": bias, "output_bias": bias}
    return _About(config_class=transformers.LlamaConfig, ours=ours, theirs={"attention_bias": bias})


def _mistral(rng: random.Random) -> _About:
    del rng
    return _About(config_class=transformers.MistralConfig, ours={"norm_eps": 1e-5}, theirs={"sliding_window": None})


def _qwen_2(rng: random.Random) -> _About:
    ours = {"norm_eps": 1e-6, "tied_heads": rng.random() < 0.5, "qkv_bias": True}
    return _About(config_class=transformers.Qwen2Config, ours=ours, theirs={"use_sliding_window": False})


def _qwen_3(rng: random.Random) -> _About:
    bias = rng.random() < 0.5
    ours = {"norm_eps": 1e-6, "tied_heads": rng.random() < 0.5, "qk_norm": True}
    ours |= {"qkv_bias": bias, "output_bias": bias}
    return _About(config_class=transformers.Qwen3Config, ours=ours, theirs={"attention_bias": bias})


_FAMILIES: dict[str, Callable[[random.Random], _About]] = {
    "llama_2": lambda rng: _llama(rng, eps=1e-5),
    "llama_with_biases": lambda rng: _llama(rng, eps=1e-3, bias=True),
    "llama_3": lambda rng: _llama(rng, eps=1e-5, tied=rng.random() < 0.5),
    "mistral": _mistral,
    "qwen_2": _qwen_2,
    "qwen_3": _qwen_3,
    "smollm2": lambda rng: _llama(rng, eps=1e-5, tied=True),
    "lwm": lambda rng: _llama(rng, eps=1e-6),
}
FAMILY_NAMES = tuple(_FAMILIES)

_KINDS: dict[str, list[str | None]] = {
    "llama_2": ["linear", "yarn", "longrope"],
    "llama_with_biases": [None, "linear", "longrope"],
    "llama_3": [None, "llama3"],
    "mistral": [None, "yarn"],
    "qwen_2": [None, "yarn"],
    "qwen_3": [None, "yarn"],
    "smollm2": [None],
    "lwm": [None],
}


def _scaling(kind: Any, head_dim: int, rng: random.Random) -> RopeScaling:
    divisors = tuple(1 + 10 * rng.random() for _ in range(head_dim // 2)) if kind == "longrope" else ()
    factor = rng.choice([2.0, 8.0])
    return RopeScaling(kind=kind, factor=factor, original_positions=PRETRAINED, divisors=divisors)


def _theirs(config: LlamaConfig, about: _About) -> transformers.PretrainedConfig:
    return about.config_class(
        vocab_size=TEXT_SIZE,
        hidden_size=config.dim,
        intermediate_size=config.ff_dim,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        head_dim=config.head_dim,
        max_position_embeddings=config.max_positions,
        rms_norm_eps=config.norm_eps,
        tie_word_embeddings=config.tied_heads,
        rope_parameters=_rope_parameters(config),
        **about.theirs,
    )


def _rope_parameters(config: LlamaConfig) -> dict[str, Any]:
    scaling = config.rope_scaling
    if scaling is None:
        return {"rope_type": "default", "rope_theta": config.rope_theta}
    made = {"rope_type": scaling.kind, "rope_theta": config.rope_theta, "factor": scaling.factor}
    if scaling.kind != "linear":
        made["original_max_position_embeddings"] = scaling.original_positions
    if scaling.kind == "llama3":
        made |= {"low_freq_factor": scaling.low_frequency_factor, "high_freq_factor": scaling.high_frequency_factor}
    if scaling.kind == "longrope":  # the same for short and long documents: there is no switch in a packed sequence
        made |= {"short_factor": list(scaling.divisors), "long_factor": list(scaling.divisors)}
    return made


def params_of(named: Mapping[str, torch.Tensor], config: LlamaConfig) -> Tree:
    """Rename and reshape the weights of transformers, or their gradients, to the parameters of `Transformer`."""
    arrays = {name: x.detach().numpy() for name, x in named.items()}
    tree: Tree = {
        "text_embedding": arrays["model.embed_tokens.weight"],
        "final_norm": arrays["model.norm.weight"],
        "layers": {
            ours: np.stack(
                [_reshaped(arrays[f"model.layers.{n}.{theirs}"], ours, config) for n in range(config.layers)]
            )
            for ours, theirs in _LAYER.items()
            if f"model.layers.0.{theirs}" in arrays
        },
    }
    return tree if config.tied_heads else tree | {"text_head": arrays["lm_head.weight"]}


_LAYER = {
    "attention_norm": "input_layernorm.weight",
    "query": "self_attn.q_proj.weight",
    "key": "self_attn.k_proj.weight",
    "value": "self_attn.v_proj.weight",
    "query_bias": "self_attn.q_proj.bias",
    "key_bias": "self_attn.k_proj.bias",
    "value_bias": "self_attn.v_proj.bias",
    "query_norm": "self_attn.q_norm.weight",
    "key_norm": "self_attn.k_norm.weight",
    "output": "self_attn.o_proj.weight",
    "output_bias": "self_attn.o_proj.bias",
    "ff_norm": "post_attention_layernorm.weight",
    "gate": "mlp.gate_proj.weight",
    "up": "mlp.up_proj.weight",
    "down": "mlp.down_proj.weight",
}


def _reshaped(x: NDArray[np.float32], name: str, config: LlamaConfig) -> NDArray[np.float32]:
    d, h = config.dim, config.head_dim
    if name in ("query", "key", "value"):
        return x.T.reshape(d, -1, h)
    if name in ("query_bias", "key_bias", "value_bias"):
        return x.reshape(-1, h)
    if name == "output":
        return x.T.reshape(-1, h, d)
    return x.T if x.ndim == 2 else x


def filled(params: nnx.State, values: Tree) -> nnx.State:
    """Return parameters with these values; raises ValueError if a name or a shape differs."""
    plain = nnx.to_pure_dict(params)
    if jax.tree.map(jnp.shape, plain) != jax.tree.map(jnp.shape, values):
        raise ValueError(f"{jax.tree.map(jnp.shape, values)} are not the parameters {jax.tree.map(jnp.shape, plain)}")
    placed = jax.tree.map(lambda old, new: jax.device_put(np.array(new), old.sharding), plain, values)
    nnx.replace_by_pure_dict(params, placed)
    return params
