"""One decoder layer: its weights, the projections before attention, and everything after attention.

Everything except attention is computed in chunks of tokens (Blockwise Parallel Transformer, arXiv 2305.19370). Every
device processes its own tokens, so the sequence is never gathered. The backward pass recomputes each chunk.

Axes: see `trainer/__init__.py`; C tokens of a chunk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from trainer.mesh import RULES, Weight, partition
from trainer.model.llama.config import LlamaConfig
from trainer.model.llama.matrices import Matrix, times
from trainer.model.llama.rope import Rotation, rotate
from trainer.model.weights import gathered_weight

Parts = tuple[Matrix, ...]  # columns of a matrix [inputs, columns], for inference; see `decoder.py`
LayerWeights = Mapping[str, Any]  # weights of one layer, keyed as in `layer_weights`: arrays, or Parts for inference

_PROJECTIONS = ("query", "key", "value", "query_bias", "key_bias", "value_bias")
_BEFORE_ATTENTION = ("attention_norm", *_PROJECTIONS, "query_norm", "key_norm")
_AFTER_ATTENTION = ("output", "output_bias", "ff_norm", "gate", "up", "down")


def layer_weights(config: LlamaConfig) -> dict[str, Weight]:
    """Declare the weights of one layer.

    Matrices are initialized with a standard deviation of 1/sqrt(inputs). For the two that add to the residual stream it
    is divided by sqrt(2 L), so that the stream does not grow with depth (GPT-2).
    """
    d, n, h, f = config.dim, config.heads, config.head_dim, config.ff_dim
    into, depth = _normal(d), 2 * config.layers
    k = config.kv_heads
    return {
        "attention_norm": norm_weight(d),
        "query": Weight(shape=(d, n, h), dims=("embed", "heads", "head_dim"), init=into),
        "key": Weight(shape=(d, k, h), dims=("embed", "kv_heads", "head_dim"), init=into),
        "value": Weight(shape=(d, k, h), dims=("embed", "kv_heads", "head_dim"), init=into),
        "output": Weight(shape=(n, h, d), dims=("heads", "head_dim", "embed"), init=_normal(n * h * depth)),
        "ff_norm": norm_weight(d),
        "gate": Weight(shape=(d, f), dims=("embed", "ff"), init=into),
        "up": Weight(shape=(d, f), dims=("embed", "ff"), init=into),
        "down": Weight(shape=(f, d), dims=("ff", "embed"), init=_normal(f * depth)),
        **_optional_weights(config),
    }


def _optional_weights(config: LlamaConfig) -> dict[str, Weight]:
    """Declare the biases and norms that only some models have; see `LlamaConfig`."""
    h = config.head_dim
    weights: dict[str, Weight] = {}
    if config.qkv_bias:
        weights["query_bias"] = _bias((config.heads, h), ("heads", "head_dim"))
        weights["key_bias"] = _bias((config.kv_heads, h), ("kv_heads", "head_dim"))
        weights["value_bias"] = _bias((config.kv_heads, h), ("kv_heads", "head_dim"))
    if config.output_bias:
        weights["output_bias"] = _bias((config.dim,), ("model",))
    if config.qk_norm:
        weights |= {name: norm_weight(h, dim="head_dim") for name in ("query_norm", "key_norm")}
    return weights


def gathered(weights: Mapping[str, jax.Array], config: LlamaConfig, mesh: Mesh | None) -> LayerWeights:
    """Gather one layer's stored weights, so that they are split over `tensor` only; see `gathered_weight`."""
    declared = layer_weights(config)
    return {name: gathered_weight(w, declared[name].dims, config.dtype, mesh) for name, w in weights.items()}


def attention_inputs(
    x: jax.Array, w: LayerWeights, by: Rotation, *, config: LlamaConfig, mesh: Mesh | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return queries [B,S,N,H], keys and values [B,S,K,H] of the residual stream `x` [B,S,D]."""

    def projected(y: jax.Array, name: str, w: LayerWeights) -> jax.Array:
        heads = product(y, w[name]).reshape(len(y), -1, config.head_dim)
        return heads + w[f"{name}_bias"][None] if config.qkv_bias else heads

    def turned(heads: jax.Array, name: str, w: LayerWeights, by: Rotation) -> jax.Array:
        if config.qk_norm:
            heads = rms_norm(heads, w[f"{name}_norm"], eps=config.norm_eps)
        return rotate(heads, by)

    def one(w: LayerWeights, x: jax.Array, by: Rotation) -> tuple[jax.Array, jax.Array, jax.Array]:
        y = rms_norm(x, w["attention_norm"], eps=config.norm_eps)
        q, k, v = (projected(y, name, w) for name in ("query", "key", "value"))
        return turned(q, "query", w, by), turned(k, "key", w, by), v

    run = _blockwise(one, w, _BEFORE_ATTENTION, "tt", "hhh", config=config, mesh=mesh)
    made: tuple[jax.Array, jax.Array, jax.Array] = run(x, by)
    return made


def after_attention(
    x: jax.Array, attended: jax.Array, w: LayerWeights, *, config: LlamaConfig, mesh: Mesh | None
) -> jax.Array:
    """Add the projected attention output `attended` [B,S,N,H] to the stream `x` [B,S,D], then the feed-forward."""

    def summed(x: jax.Array) -> jax.Array:
        """Sum over the devices of the axis `tensor`, each of which has the result of its heads or columns."""
        return x if mesh is None or mesh.shape["tensor"] == 1 else lax.psum(x, "tensor")

    def one(w: LayerWeights, x: jax.Array, attended: jax.Array) -> jax.Array:
        x = x + summed(product(attended, w["output"]))
        if config.output_bias:
            x = x + w["output_bias"][None]
        y = rms_norm(x, w["ff_norm"], eps=config.norm_eps)
        return x + summed(product(jax.nn.silu(product(y, w["gate"])) * product(y, w["up"]), w["down"]))

    run = _blockwise(one, w, _AFTER_ATTENTION, "th", "t", config=config, mesh=mesh)
    made: jax.Array = run(x, attended)
    return made


def _blockwise(
    one: Callable[..., Any],
    weights: LayerWeights,
    names: tuple[str, ...],
    inputs: str,
    outputs: str,
    *,
    config: LlamaConfig,
    mesh: Mesh | None,
) -> Callable[..., Any]:
    """Return a function that applies `one(weights, *arrays)` to chunks of each device's tokens.

    Names of weights that the model does not have are left out. `inputs` and `outputs` have one letter per array:
    t [B,S,...], h [B,S,heads,H]; `one` gets arrays [C,...]. The backward pass recomputes each chunk, so only its inputs
    are saved. Gradients of the weights are summed in float32, over chunks and then, once, over devices.
    """

    def computed(weight: jax.Array) -> jax.Array:
        return weight if weight.dtype == jnp.uint32 else weight.astype(config.dtype)  # the words of `Pairs` stay

    def cast(w: LayerWeights, *part: Any) -> Any:
        return one(jax.tree.map(computed, w), *part)

    def local(w: LayerWeights, *arrays: Any) -> Any:
        batch, length = jax.tree.leaves(arrays)[0].shape[:2]
        rows = jax.tree.map(lambda x: x.reshape(batch * length, *x.shape[2:]), arrays)
        made = over_chunks(lambda *part: jax.checkpoint(cast, prevent_cse=False)(w, *part), rows, config.chunk)
        return jax.tree.map(lambda x: x.reshape(batch, length, *x.shape[1:]), made)

    used = {name: weights[name] for name in names if name in weights}
    if mesh is None:
        return partial(local, used)
    declared, batch, sequence = layer_weights(config), RULES["batch"], RULES["sequence"]
    specs = {"t": PartitionSpec(batch, sequence), "h": PartitionSpec(batch, sequence, RULES["heads"])}
    placed = {name: partition(declared[name].dims, w.shape, mesh, over=("tensor",)) for name, w in used.items()}
    made = tuple(specs[x] for x in outputs)
    # With check_vma the sum over devices in the backward pass would be inside the loop over chunks.
    mapped = jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(placed, *(specs[x] for x in inputs)),
        out_specs=made if len(made) > 1 else made[0],
        check_vma=False,
    )
    return partial(mapped, used)


def product(y: jax.Array, w: jax.Array | Parts) -> jax.Array:
    """Multiply `y` [C,...] by `w` [...,outputs], over all dims of `y` but the first; by parts: [C,columns]."""
    if not isinstance(w, tuple):
        return jnp.tensordot(y, w, axes=y.ndim - 1)
    rows = y.reshape(len(y), -1)
    made = [times(rows, part) for part in w]
    return jnp.concatenate(made, axis=1) if len(made) > 1 else made[0]


def rms_norm(x: jax.Array, scale: jax.Array, *, eps: float) -> jax.Array:
    """Divide `x` [...,D] by its root mean square and multiply by `scale` [D]; computed in float32.

    `eps` is added to the mean square.
    """
    y = x.astype(jnp.float32)
    y = y * lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + eps)
    return (y * jnp.broadcast_to(scale.astype(jnp.float32), y.shape)).astype(x.dtype)


def over_chunks(one: Callable[..., Any], rows: Any, chunk: int) -> Any:
    """Apply `one` to a tuple of trees of arrays [T,...] in equal chunks of at most `chunk` rows."""
    count = len(jax.tree.leaves(rows)[0])
    parts = -(-count // chunk)

    def cut(x: jax.Array) -> jax.Array:
        padded = jnp.pad(x, [(0, -count % parts)] + [(0, 0)] * (x.ndim - 1))
        return padded.reshape(parts, -1, *x.shape[1:])

    done = lax.map(lambda part: one(*part), jax.tree.map(cut, rows))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], done)


def _normal(inputs: float) -> Callable[[jax.Array, tuple[int, ...]], jax.Array]:
    return jax.nn.initializers.normal(1 / math.sqrt(inputs))


def norm_weight(size: int, *, dim: str = "model") -> Weight:
    """Declare the scale of a norm over the dim named `dim`; initialized to 1."""
    return Weight(shape=(size,), dims=(dim,), init=_constant(1.0), decayed=False)


def _bias(shape: tuple[int, ...], dims: tuple[str, ...]) -> Weight:
    return Weight(shape=shape, dims=dims, init=_constant(0.0), decayed=False)


def table_weight(size: int, dim: int) -> Weight:
    """Declare an embedding or a head.

    Initial logits have a variance of 1, so the first loss is about log V + 1/2. With smaller heads (0.02, as in GPT-2)
    the small recipe learns more slowly.
    """
    return Weight(shape=(size, dim), dims=("vocab", "embed"), init=_normal(dim))


def _constant(value: float) -> Callable[[jax.Array, tuple[int, ...]], jax.Array]:
    return lambda key, shape: jnp.full(shape, value)
