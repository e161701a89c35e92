"""The model: a LLaMA-type decoder over the one id space of text and vision, in Flax NNX.

RMSNorm (arXiv 1910.07467) before attention and before a SwiGLU feed-forward (arXiv 2002.05202), rotary positions,
grouped-query attention. Text and vision ids have embedding tables and heads of their own; logits are [text | vision],
over the vocabulary of `schemas/vocab.py`, with one softmax over both.

Layers are stacked, [L, ...], and scanned, so the program is the size of one layer. Each layer is rematerialised in
backward, all but attention's output and log-sum-exp, which are kept: attention's forward is not run a second time. The
feed-forward goes over chunks of tokens. The order of the sequence does not matter: masks and angles come from segment
ids and positions alone.

Axes: see `trainer/__init__.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from schemas.errors import ConfigError
from trainer.attention import LSE, OUT, attention
from trainer.config import ModelConfig
from trainer.mesh import RULES, Weight, constrain, shardings
from trainer.rope import Rotation, rotate, rotation

_HIDDEN = ("batch", "sequence", "model")
_NORM_EPS = 1e-5

LayerWeights = Mapping[str, jax.Array]  # of one layer, in the compute dtype, by the names of `layer_weights`


class Transformer(nnx.Module):
    """The decoder. Parameters are float32 and carry the names of their dims; `trainer.mesh.shardings` places them."""

    def __init__(
        self, config: ModelConfig, *, text_size: int, vision_size: int, rngs: nnx.Rngs, mesh: Mesh | None = None
    ) -> None:
        """Make the parameters; `vision_size` counts the codes, <eof> and <eov>. `create` makes them on a mesh."""
        self.config, self.text_size, self.vision_size, self.mesh = config, text_size, vision_size, mesh
        dim = config.dim
        self.text_embedding = _table(text_size, dim).make(rngs.params())
        self.vision_embedding = _table(vision_size, dim).make(rngs.params())
        self.layers = nnx.Dict(
            {name: w.stacked(config.layers).make(rngs.params()) for name, w in layer_weights(config).items()}
        )
        self.final_norm = _norm(dim).make(rngs.params())
        self.text_head = _table(text_size, dim).make(rngs.params())
        self.vision_head = _table(vision_size, dim).make(rngs.params())

    def __call__(self, tokens: jax.Array, segment_ids: jax.Array, positions: jax.Array) -> jax.Array:
        """Return the normed hidden states [B,S,D], in the compute dtype, of `tokens`; all arrays [B,S] int32."""
        by, config, mesh = self.rotation(positions), self.config, self.mesh
        attend = partial(attention, mesh=mesh, tile=config.tile, method=config.attention)

        def layer(x: jax.Array, stored: Mapping[str, jax.Array]) -> tuple[jax.Array, None]:
            w = gathered(stored, config, mesh)
            q, k, v = attention_inputs(x, w, by)
            attended = attend(q, k, v, segment_ids, positions)
            return after_attention(x, attended, w, config=config, mesh=mesh), None

        kept = jax.checkpoint_policies.save_only_these_names(OUT, LSE)
        # A scan needs no protection from common subexpressions: each direction is a loop of its own.
        x, _ = lax.scan(
            jax.checkpoint(layer, policy=kept, prevent_cse=False), self.embed(tokens), self.stacked_weights()
        )
        return self.normed(x)

    def embed(self, tokens: jax.Array) -> jax.Array:
        """Look up `tokens` [B,S] in the table of their modality: [B,S,D]."""
        vision = tokens >= self.text_size
        text = jnp.take(self._used(self.text_embedding), jnp.where(vision, 0, tokens), axis=0)
        codes = jnp.take(self._used(self.vision_embedding), jnp.where(vision, tokens - self.text_size, 0), axis=0)
        return constrain(jnp.where(vision[..., None], codes, text), _HIDDEN, self.mesh)

    def rotation(self, positions: jax.Array) -> Rotation:
        """Return the rotary angles for `positions` [B,S]."""
        c = self.config
        return rotation(positions, head_dim=c.head_dim, theta=c.rope_theta, max_positions=c.max_positions)

    def stacked_weights(self) -> dict[str, jax.Array]:
        """Return the weights of all layers, [L, ...], as they are stored."""
        return {name: parameter.get_value() for name, parameter in self.layers.items()}

    def normed(self, x: jax.Array) -> jax.Array:
        """Apply the norm that stands before the heads."""
        return rms_norm(x, self.final_norm.get_value())

    def head(self) -> jax.Array:
        """Return the weights [V,D], in the compute dtype, whose products with a hidden state are the logits."""
        return jnp.concatenate([self._used(self.text_head), self._used(self.vision_head)])

    def _used(self, parameter: nnx.Param[jax.Array]) -> jax.Array:
        """A table in the compute dtype, gathered."""
        return constrain(parameter.get_value().astype(self.config.dtype), ("model", "model"), self.mesh)


def create(config: ModelConfig, *, text_size: int, vision_size: int, mesh: Mesh, seed: int) -> Transformer:
    """Make a model whose parameters are made where they belong on `mesh`; the same numbers on any mesh."""

    def make() -> Transformer:
        return Transformer(config, text_size=text_size, vision_size=vision_size, rngs=nnx.Rngs(seed), mesh=mesh)

    graph, shapes = nnx.split(nnx.eval_shape(make))
    # It runs once, and optimising it takes a CPU 5 s.
    quickly = {"xla_backend_optimization_level": 1} if mesh.devices.flat[0].platform == "cpu" else None
    init = jax.jit(lambda: nnx.split(make())[1], out_shardings=shardings(shapes, mesh), compiler_options=quickly)
    return nnx.merge(graph, init())


def layer_weights(config: ModelConfig) -> dict[str, Weight]:
    """Declare the weights of one layer.

    Products start with a standard deviation of 1/sqrt(inputs). The two that add to the residual stream have theirs
    divided by sqrt(2 L), lest its size grow with depth (GPT-2).
    """
    d, n, k, h, f = config.dim, config.heads, config.kv_heads, config.head_dim, config.ff_dim
    into, depth = _normal(d), 2 * config.layers
    return {
        "attention_norm": _norm(d),
        "query": Weight(shape=(d, n, h), dims=("embed", "heads", "head_dim"), init=into),
        "key": Weight(shape=(d, k, h), dims=("embed", "kv_heads", "head_dim"), init=into),
        "value": Weight(shape=(d, k, h), dims=("embed", "kv_heads", "head_dim"), init=into),
        "output": Weight(shape=(n, h, d), dims=("heads", "head_dim", "embed"), init=_normal(n * h * depth)),
        "ff_norm": _norm(d),
        "gate": Weight(shape=(d, f), dims=("embed", "ff"), init=into),
        "up": Weight(shape=(d, f), dims=("embed", "ff"), init=into),
        "down": Weight(shape=(f, d), dims=("ff", "embed"), init=_normal(f * depth)),
    }


def gathered(weights: Mapping[str, jax.Array], config: ModelConfig, mesh: Mesh | None) -> LayerWeights:
    """Turn one layer's stored weights into those it computes with: compute dtype, split over tensor alone.

    The cast comes first, so that half the bytes travel where the compute dtype is bfloat16. Their gradients come
    back, and are summed over devices, in that dtype too.
    """
    declared = layer_weights(config)
    return {
        name: constrain(w.astype(config.dtype), declared[name].dims, mesh, over=("tensor",))
        for name, w in weights.items()
    }


def attention_inputs(x: jax.Array, w: LayerWeights, by: Rotation) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return queries [B,S,N,H], keys and values [B,S,K,H] of the stream `x` [B,S,D]."""
    y = rms_norm(x, w["attention_norm"])
    q, k, v = (jnp.einsum("bsd,dnh->bsnh", y, w[name]) for name in ("query", "key", "value"))
    return rotate(q, by), rotate(k, by), v


def after_attention(
    x: jax.Array, attended: jax.Array, w: LayerWeights, *, config: ModelConfig, mesh: Mesh | None
) -> jax.Array:
    """Add to the stream `x` [B,S,D] what was attended to, [B,S,N,H], and then the feed-forward."""
    x = constrain(x + jnp.einsum("bsnh,nhd->bsd", attended, w["output"]), _HIDDEN, mesh)
    return x + feed_forward(rms_norm(x, w["ff_norm"]), w, config=config, mesh=mesh)


def feed_forward(x: jax.Array, w: LayerWeights, *, config: ModelConfig, mesh: Mesh | None) -> jax.Array:
    """Return (silu(x·gate) * x·up)·down for `x` [B,S,D], computed over chunks of tokens.

    Each device goes through the chunks of its own tokens. Gradients of the weights are summed over devices once, after
    the last chunk. Raises ConfigError where the mesh does not divide the columns.
    """
    local = partial(_local_feed_forward, chunk=config.chunk, axis=None if mesh is None else "tensor")
    if mesh is None:
        return local(x, w["gate"], w["up"], w["down"])
    if config.ff_dim % mesh.shape["tensor"]:
        raise ConfigError(f"ff_dim = {config.ff_dim} cannot be split over tensor = {mesh.shape['tensor']} devices")
    tokens, columns = PartitionSpec(RULES["batch"], RULES["sequence"], None), PartitionSpec(None, RULES["ff"])
    specs = (tokens, columns, columns, PartitionSpec(RULES["ff"], None))
    # Without vma checks the sum over devices in backward stands at the border, not inside the loop over chunks.
    mapped = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=tokens, check_vma=False)
    return mapped(x, w["gate"], w["up"], w["down"])


def rms_norm(x: jax.Array, scale: jax.Array) -> jax.Array:
    """Scale `x` [B,S,D] to a root mean square of 1, then by `scale` [D]; computed in float32."""
    y = x.astype(jnp.float32)
    y = y * lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + _NORM_EPS)
    return (y * scale.astype(jnp.float32)[None, None]).astype(x.dtype)


def _local_feed_forward(
    x: jax.Array, gate: jax.Array, up: jax.Array, down: jax.Array, *, chunk: int, axis: str | None
) -> jax.Array:
    @partial(jax.checkpoint, prevent_cse=False)
    def one(x: jax.Array) -> jax.Array:
        return (jax.nn.silu(x @ gate) * (x @ up)) @ down

    out = over_chunks(one, x.reshape(-1, x.shape[-1]), chunk).reshape(x.shape)
    return out if axis is None else lax.psum(out, axis)


def over_chunks(one: Callable[[jax.Array], jax.Array], rows: jax.Array, chunk: int) -> jax.Array:
    """Apply `one` to `rows` [T,D], at most `chunk` rows at a time, in equal parts."""
    parts = -(-len(rows) // chunk)
    padded = jnp.pad(rows, ((0, -len(rows) % parts), (0, 0)))
    return lax.map(one, padded.reshape(parts, -1, rows.shape[-1])).reshape(-1, rows.shape[-1])[: len(rows)]


def _normal(inputs: float) -> Callable[[jax.Array, tuple[int, ...]], jax.Array]:
    return jax.nn.initializers.normal(1 / math.sqrt(inputs))


def _norm(dim: int) -> Weight:
    return Weight(shape=(dim,), dims=("model",), init=_ones)


def _table(size: int, dim: int) -> Weight:
    """Declare an embedding or a head.

    Logits start with a variance of 1, so the first loss is about log V + 1/2; from smaller heads (0.02, as in GPT-2)
    the small recipe learns more slowly.
    """
    return Weight(shape=(size, dim), dims=("vocab", "embed"), init=_normal(dim))


def _ones(key: Any, shape: tuple[int, ...]) -> jax.Array:
    del key  # a norm starts at 1
    return jnp.ones(shape)
