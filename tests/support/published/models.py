"""Small random models in every published format, written by the formats' own packages or by independent code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gguf
import ml_dtypes
import msgpack
import numpy as np
from flax import serialization
from numpy.typing import NDArray
from safetensors.numpy import save_file

from tests.support.vqgan import torch_zip
from trainer.model.llama.config import LlamaConfig

TEXT_SIZE, VISION_SIZE = 37, 10
State = dict[str, NDArray[np.float32]]  # by the names of Hugging Face


def tiny(**changes: Any) -> LlamaConfig:
    """Return a model with grouped heads and an uneven feed-forward."""
    sizes = {"dim": 16, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 4, "ff_dim": 24}
    return LlamaConfig(**{**sizes, "rope_theta": 1e4, "max_positions": 64, "tile": 8, "chunk": 8, **changes})


def random_state(config: LlamaConfig, *, text_size: int = TEXT_SIZE, seed: int = 0) -> State:
    """Return random weights of a model of text."""
    rng = np.random.default_rng(seed)

    def matrix(*shape: int) -> NDArray[np.float32]:
        return rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[-1]))

    d, h, f = config.dim, config.head_dim, config.ff_dim
    state: State = {"model.embed_tokens.weight": matrix(text_size, d)}
    for i in range(config.layers):
        at = f"model.layers.{i}."
        outputs = {"q": config.heads * h, "k": config.kv_heads * h, "v": config.kv_heads * h}
        for name, size in outputs.items():
            state[f"{at}self_attn.{name}_proj.weight"] = matrix(size, d)
            if config.qkv_bias:
                state[f"{at}self_attn.{name}_proj.bias"] = matrix(size)
        state[f"{at}self_attn.o_proj.weight"] = matrix(d, config.heads * h)
        if config.output_bias:
            state[f"{at}self_attn.o_proj.bias"] = matrix(d)
        if config.qk_norm:
            state |= {f"{at}self_attn.{name}_norm.weight": 1 + matrix(h) / 4 for name in ("q", "k")}
        state |= {f"{at}mlp.{name}_proj.weight": matrix(f, d) for name in ("gate", "up")}
        state[f"{at}mlp.down_proj.weight"] = matrix(d, f)
        for name in ("input_layernorm", "post_attention_layernorm"):
            state[f"{at}{name}.weight"] = 1 + matrix(d) / 4
    state["model.norm.weight"] = 1 + matrix(d) / 4
    if not config.tied_heads:
        state["lm_head.weight"] = matrix(text_size, d)
    return state


def hf_config(config: LlamaConfig, *, text_size: int = TEXT_SIZE, **changes: Any) -> dict[str, Any]:
    """Return the config.json of version 4 of transformers."""
    architecture = "Qwen3" if config.qk_norm else "Qwen2" if config.qkv_bias and not config.output_bias else "Llama"
    return {
        "architectures": [f"{architecture}ForCausalLM"],
        "hidden_size": config.dim,
        "intermediate_size": config.ff_dim,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "max_position_embeddings": config.max_positions,
        "tie_word_embeddings": config.tied_heads,
        "attention_bias": config.output_bias,
        "vocab_size": text_size,
        "bos_token_id": 1,
        "eos_token_id": [2, 3],
        **changes,
    }


def write_hf(
    folder: Path, config: LlamaConfig, state: State, *, shards: int = 1, dtype: Any = np.float32, **changes: Any
) -> Path:
    """Write safetensors, with the package safetensors, and config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(hf_config(config, **changes)))
    stored = {name: np.ascontiguousarray(value.astype(dtype)) for name, value in state.items()}
    if shards == 1:
        save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    places = {}
    for i in range(shards):
        name = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(stored.items())[i::shards])
        save_file(part, folder / name)
        places |= dict.fromkeys(part, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def write_torch(folder: Path, config: LlamaConfig, state: State) -> Path:
    """Write pytorch_model.bin and config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(hf_config(config)))
    torch_zip.save(folder / "pytorch_model.bin", state)
    return folder


def side_by_side(matrix: NDArray[Any], heads: int) -> NDArray[Any]:
    """Reorder the outputs of queries or keys from halves of a head to pairs, as Meta, GGUF and LWM have them."""
    size = matrix.shape[0] // heads // 2
    return np.ascontiguousarray(matrix.reshape(heads, 2, size, -1).swapaxes(1, 2)).reshape(matrix.shape)


def _turned(config: LlamaConfig, state: State) -> State:
    """Return the state with the pairs of queries and keys side by side."""
    turned = dict(state)
    for name in state:
        for letter, heads in (("q", config.heads), ("k", config.kv_heads)):
            if f"{letter}_proj" in name:
                turned[name] = side_by_side(state[name], heads)
    return turned


_GGUF = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers.": "blk.",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_META = {
    "model.embed_tokens": "tok_embeddings",
    "model.norm": "norm",
    "lm_head": "output",
    "model.layers.": "layers.",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
}


def _renamed(state: State, table: Mapping[str, str]) -> State:
    renamed = {}
    for name, value in state.items():
        for old, new in table.items():
            name = name.replace(old, new)
        renamed[name] = value
    return renamed


def write_gguf(
    path: Path,
    config: LlamaConfig,
    state: State,
    *,
    architecture: str = "llama",
    quantize: gguf.GGMLQuantizationType | None = None,
    **metadata: float,
) -> Path:
    """Write a file with the package gguf; `quantize` is the type of matrices."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_embedding_length(config.dim)
    writer.add_block_count(config.layers)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_feed_forward_length(config.ff_dim)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_context_length(config.max_positions)
    writer.add_uint32("tokenizer.ggml.bos_token_id", 1)
    writer.add_uint32("tokenizer.ggml.eos_token_id", 2)
    for name, value in metadata.items():
        writer.add_float32(f"{architecture}.{name}", value)
    for name, array in _renamed(_turned(config, state) if architecture == "llama" else state, _GGUF).items():
        if quantize is not None and array.ndim == 2:
            writer.add_tensor(name, gguf.quants.quantize(array, quantize), raw_dtype=quantize)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_meta(folder: Path, config: LlamaConfig, state: State, *, shards: int = 2, split_ids: bool = True) -> Path:
    """Write Meta's consolidated shards in bfloat16 or float32; `split_ids`: the embedding by ids, as in LLaMA 3."""
    folder.mkdir(parents=True, exist_ok=True)
    params = {"dim": config.dim, "n_layers": config.layers, "n_heads": config.heads, "n_kv_heads": config.kv_heads}
    params |= {"norm_eps": config.norm_eps, "rope_theta": config.rope_theta, "vocab_size": -1}
    (folder / "params.json").write_text(json.dumps(params))
    renamed = _renamed(_turned(config, state), _META) | {"rope.freqs": np.zeros(2, np.float32)}
    for i in range(shards):
        part = {}
        for name, value in renamed.items():
            axis = 1 if name.endswith(("wo.weight", "w2.weight")) else 0
            if name.startswith("tok_embeddings") and not split_ids:
                axis = 1
            part[name] = value if value.ndim == 1 else np.array_split(value, shards, axis=axis)[i]
        torch_zip.save(folder / f"consolidated.{i:02}.pth", part)
    return folder


def lwm_tree(config: LlamaConfig, state: State, *, scan: int | None = 0, vision: bool = True) -> State:
    """Return LWM's arrays by their keys joined with "/"; `scan` is the axis of stacked layers, None for none."""
    turned, tree = _renamed(_turned(config, state), _META), {}
    for name, value in turned.items():
        keys = name.replace("layers.", "h.").removesuffix(".weight").split(".")
        kind, kernel = keys[-1], "embedding" if keys[-1] == "tok_embeddings" else "kernel"
        top = {"tok_embeddings": "transformer/wte", "norm": "transformer/ln_f", "output": "lm_head"}
        where = top.get(kind, "transformer/" + "/".join(keys))
        tree[f"{where}/{kernel}"] = value if kind == "tok_embeddings" else np.ascontiguousarray(value.T)
    if vision:
        rng = np.random.default_rng(7)
        tree["transformer/vte/embedding"] = rng.standard_normal((VISION_SIZE, config.dim), np.float32)
        tree["vision_head/kernel"] = rng.standard_normal((config.dim, VISION_SIZE), np.float32)
    if scan is None:
        return tree
    stacked = {name: value for name, value in tree.items() if "/h/" not in name}
    for name in [name for name in tree if "/h/0/" in name]:
        layers = [tree[name.replace("/h/0/", f"/h/{i}/")] for i in range(config.layers)]
        stacked[name.replace("/h/0/", "/h/scan_decoder/")] = np.stack(layers, axis=scan)
    return stacked


def write_stream(path: Path, tree: State, *, prefix: tuple[str, ...] = (), dtype: Any = np.float32) -> Path:
    """Write a stream as LWM's checkpointer does: pairs of a key and the serialized array."""
    packer = msgpack.Packer()
    with path.open("wb") as f:
        for name, value in tree.items():
            f.write(packer.pack(((*prefix, *name.split("/")), serialization.to_bytes(value.astype(dtype)))))
    return path


def write_flax(path: Path, tree: State) -> Path:
    """Write one tree with flax."""
    nested: dict[str, Any] = {}
    for name, value in tree.items():
        *keys, last = ("params", *name.split("/"))
        node = nested
        for key in keys:
            node = node.setdefault(key, {})
        node[last] = value
    path.write_bytes(serialization.to_bytes(nested))
    return path


def plain(config: LlamaConfig) -> dict[str, Any]:
    """Return a configuration without what only says how it is computed."""
    values = asdict(config)
    return {name: value for name, value in values.items() if name not in ("tile", "chunk", "attention", "offload")}


BFLOAT16 = ml_dtypes.bfloat16


def read_stream(path: Path) -> dict[str, NDArray[Any]]:
    """Read a stream as LWM does, with msgpack and flax."""
    with path.open("rb") as f:
        pairs = list(msgpack.Unpacker(f, max_buffer_size=0))
    return {"/".join(key): serialization.msgpack_restore(value) for key, value in pairs}
