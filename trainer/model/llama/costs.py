"""What a training step of a LLaMA-type decoder costs: floating-point operations, and memory besides the parameters.

The memory is a model of what XLA allocates, fitted to its buffer assignments on CPUs (`docs/models.md` has the table).
Where the compute dtype is bfloat16 it is an upper estimate: the working arrays of a layer count with 4 bytes.

Axes: see `trainer/__init__.py`; T tokens of a device.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from trainer.config import AttentionMethod
from trainer.model.llama.config import LlamaConfig
from trainer.model.protocol import StepMemory

_FLOAT = 4  # bytes


def flops_per_token(config: LlamaConfig, *, text_size: int, vision_size: int, mean_span: float) -> float:
    """Return the floating-point operations of one training step per token: 6 per weight plus those of attention.

    This is the usual count for model FLOPs utilization (PaLM, arXiv 2204.02311, appendix B): forward and backward,
    without rematerialization and without the embedding lookup. `mean_span` is the mean number of keys that a token
    may attend to, including itself: (n + 1) / 2 for a document of n tokens, averaged over tokens.
    """
    weights = config.layers * config.matmul_weights + config.dim * (text_size + vision_size)
    attention = 2 * config.layers * config.heads * config.head_dim * mean_span  # scores, and the weighted sum of values
    return 6.0 * (weights + attention)


def step_memory(config: LlamaConfig, mesh: Mapping[str, int], *, tokens: int, ids: int) -> StepMemory:
    """Return the bytes that a device holds during a step with `tokens` of a micro-batch and `ids` in the vocabulary."""
    size = jnp.dtype(config.dtype).itemsize
    kept = _kept_per_token(config, mesh) * tokens
    # Those of one layer, gathered, and their gradient; where two axes split them, one of these half gathered as well.
    copies = 3 if mesh["fsdp"] > 1 and mesh["sequence"] > 1 else 2
    weights = copies * config.matmul_weights // mesh["tensor"] * size
    chunk = min(config.chunk, tokens)
    feed_forward = 4 * chunk * config.ff_dim // mesh["tensor"] * _FLOAT
    layer = weights + feed_forward + _layer_per_token(config, mesh) * tokens
    is_copied = config.dtype != "float32" or mesh["fsdp"] * mesh["sequence"] > 1
    tables = ids * config.dim * ((2 if is_copied else 1) * size + _FLOAT)  # the heads, joined, and their gradient
    loss = tables + chunk * ids * _FLOAT + 2 * tokens * config.dim * _FLOAT
    if config.offload:
        return StepMemory(kept=kept // config.layers, offloaded=kept, working=max(layer, loss))
    return StepMemory(kept=kept, offloaded=0, working=max(layer, loss))


def _kept_per_token(config: LlamaConfig, mesh: Mapping[str, int]) -> int:
    """Return the bytes per token that layers keep for the backward pass: the stream, and what `remat` adds to it.

    That is attention's output and log-sum-exp for layer, also queries, keys and values for projections.
    """
    size, tensor = jnp.dtype(config.dtype).itemsize, mesh["tensor"]
    heads, kv_heads = config.heads // tensor, config.kv_heads // tensor
    kept = config.dim * size
    if config.remat != "full":
        kept += heads * config.head_dim * size + heads * _FLOAT
    if config.remat == "projections":
        kept += (heads + 2 * kv_heads) * config.head_dim * size
    return config.layers * kept


def _layer_per_token(config: LlamaConfig, mesh: Mapping[str, int]) -> int:
    """Return the bytes per token of the backward pass of one layer: arrays like the stream, the queries, the keys."""
    queries = config.heads // mesh["tensor"] * config.head_dim
    keys = config.kv_heads // mesh["tensor"] * config.head_dim
    method: AttentionMethod | None = config.attention if mesh["sequence"] > 1 else None
    of_queries, of_keys = {
        # A ring holds keys, values and the sums of their gradients twice: its own, and those that arrive. Two devices
        # take a single hop.
        "ring": (9, 3 if mesh["sequence"] == 2 else 11),
        "ulysses": (9, 3),
        "all_gather": (9, 4 * mesh["sequence"]),
        None: (7, 4),
    }[method]
    angles = 2 * config.head_dim
    return (3 * config.dim + of_queries * queries + of_keys * keys + angles) * _FLOAT
