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

from trainer.mesh import RULES, Weight, constrain, partition
from trainer.model.llama.config import LlamaConfig
from trainer.model.llama.rope import Rotation, rotate

_NORM_EPS = 1e-5

LayerWeights = Mapping[str, jax.Array]  # weights of one layer in the compute dtype, keyed as in `layer_weights`


def layer_weights(config: LlamaConfig) -> dict[str, Weight]:
    """Declare the weights of one layer.

    Matrices are initialized with a standard deviation of 1/sqrt(inputs). For the two that add to the residual stream it
    is divided by sqrt(2 L), so that the stream does not grow with depth (GPT-2).
    """
    d, n, k, h, f = config.dim, config.heads, config.kv_heads, config.head_dim, config.ff_dim
    into, depth = _normal(d), 2 * config.layers
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
    }


def gathered(weights: Mapping[str, jax.Array], config: LlamaConfig, mesh: Mesh | None) -> LayerWeights:
    """Cast one layer's stored weights to the compute dtype and gather them, so that they are split over `tensor` only.

    The cast comes first, which halves the transfer if the compute dtype is bfloat16. Gradients are also summed over
    devices in that dtype.
    """
    declared = layer_weights(config)
    return {
        name: constrain(w.astype(config.dtype), declared[name].dims, mesh, over=("tensor",))
        for name, w in weights.items()
    }


def attention_inputs(
    x: jax.Array, w: LayerWeights, by: Rotation, *, config: LlamaConfig, mesh: Mesh | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return queries [B,S,N,H], keys and values [B,S,K,H] of the residual stream `x` [B,S,D]."""

    def one(w: LayerWeights, x: jax.Array, by: Rotation) -> tuple[jax.Array, jax.Array, jax.Array]:
        y = rms_norm(x, w["attention_norm"])
        q, k, v = (jnp.einsum("cd,dnh->cnh", y, w[name]) for name in ("query", "key", "value"))
        return rotate(q, by), rotate(k, by), v

    names = ("attention_norm", "query", "key", "value")
    made: tuple[jax.Array, jax.Array, jax.Array] = _blockwise(one, w, names, "tt", "hhh", config=config, mesh=mesh)(
        x, by
    )
    return made


def after_attention(
    x: jax.Array, attended: jax.Array, w: LayerWeights, *, config: LlamaConfig, mesh: Mesh | None
) -> jax.Array:
    """Add the projected attention output `attended` [B,S,N,H] to the stream `x` [B,S,D], then the feed-forward."""

    def summed(x: jax.Array) -> jax.Array:
        """Sum over the devices of the axis `tensor`, each of which has the result of its heads or columns."""
        return x if mesh is None or mesh.shape["tensor"] == 1 else lax.psum(x, "tensor")

    def one(w: LayerWeights, x: jax.Array, attended: jax.Array) -> jax.Array:
        x = x + summed(jnp.einsum("cnh,nhd->cd", attended, w["output"]))
        y = rms_norm(x, w["ff_norm"])
        return x + summed((jax.nn.silu(y @ w["gate"]) * (y @ w["up"])) @ w["down"])

    names = ("output", "ff_norm", "gate", "up", "down")
    run = _blockwise(one, w, names, "th", "t", config=config, mesh=mesh)
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

    `inputs` and `outputs` have one letter per array: t [B,S,...], h [B,S,heads,H]; `one` gets arrays [C,...]. The
    backward pass recomputes each chunk, so only its inputs are saved. Gradients of the weights are summed over devices
    once, after the last chunk.
    """

    def local(w: LayerWeights, *arrays: Any) -> Any:
        batch, length = jax.tree.leaves(arrays)[0].shape[:2]
        rows = jax.tree.map(lambda x: x.reshape(batch * length, *x.shape[2:]), arrays)
        made = over_chunks(lambda *part: jax.checkpoint(one, prevent_cse=False)(w, *part), rows, config.chunk)
        return jax.tree.map(lambda x: x.reshape(batch, length, *x.shape[1:]), made)

    used = {name: weights[name] for name in names}
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


def rms_norm(x: jax.Array, scale: jax.Array) -> jax.Array:
    """Divide `x` [...,D] by its root mean square and multiply by `scale` [D]; computed in float32."""
    y = x.astype(jnp.float32)
    y = y * lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + _NORM_EPS)
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


def norm_weight(dim: int) -> Weight:
    """Declare the scale of a norm; initialized to 1."""
    return Weight(shape=(dim,), dims=("model",), init=_ones)


def table_weight(size: int, dim: int) -> Weight:
    """Declare an embedding or a head.

    Initial logits have a variance of 1, so the first loss is about log V + 1/2. With smaller heads (0.02, as in GPT-2)
    the small recipe learns more slowly.
    """
    return Weight(shape=(size, dim), dims=("vocab", "embed"), init=_normal(dim))


def _ones(key: Any, shape: tuple[int, ...]) -> jax.Array:
    del key
    return jnp.ones(shape)
