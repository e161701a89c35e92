"""The model: a LLaMA-type decoder over the one id space of text and vision, in Flax NNX.

RMSNorm (arXiv 1910.07467) before attention and before a SwiGLU feed-forward (arXiv 2002.05202), rotary positions,
grouped-query attention. Text and vision ids have embedding tables and heads of their own; logits are [text | vision],
over the vocabulary of `schemas/vocab.py`.

Layers are stacked, [L, ...], and scanned, so the program is the size of one layer. All but attention itself goes over
chunks of tokens (Blockwise Parallel Transformer, arXiv 2305.19370), each device over those of its own tokens, so that
the sequence stays split throughout. In backward each chunk and each layer is computed again, all but attention, whose
output and log-sum-exp are kept: its forward is not run a second time. What a layer keeps, these two and the stream it
was given, may wait in host memory (`offload`); on a CPU, where that is the device's memory, it stays where it is.

The order of the sequence does not matter: masks and angles come from segment ids and positions alone.

Axes: see `trainer/__init__.py`; C tokens of a chunk.
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
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh, PartitionSpec

from schemas.errors import ConfigError
from trainer.attention.context_parallel import LSE, OUT, attention
from trainer.config import ModelConfig
from trainer.divisibility import require_heads
from trainer.mesh import RULES, Weight, constrain, partition, shardings
from trainer.model.rope import Rotation, rotate, rotation

STREAM = "layer_stream"  # beside attention's OUT and LSE, the name of what a layer keeps

_HIDDEN = ("batch", "sequence", "model")
_NORM_EPS = 1e-5
_HOST = "pinned_host"

LayerWeights = Mapping[str, jax.Array]  # of one layer, in the compute dtype, by the names of `layer_weights`


class Transformer(nnx.Module):
    """The decoder. Parameters are float32 and carry the names of their dims; `trainer.mesh.shardings` places them."""

    def __init__(
        self, config: ModelConfig, *, text_size: int, vision_size: int, rngs: nnx.Rngs, mesh: Mesh | None = None
    ) -> None:
        """Make the parameters; `vision_size` counts the codes, <eof> and <eov>. `create` makes them on a mesh.

        Raises ConfigError where the mesh's axis `tensor` does not divide heads or columns.
        """
        if mesh is not None:
            require_heads(config.heads, config.kv_heads, mesh.shape, method=config.attention, ff_dim=config.ff_dim)
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
            x, w = checkpoint_name(x, STREAM), gathered(stored, config, mesh)
            q, k, v = attention_inputs(x, w, by, config=config, mesh=mesh)
            attended = attend(q, k, v, segment_ids, positions)
            return after_attention(x, attended, w, config=config, mesh=mesh), None

        # A scan needs no protection from common subexpressions: each direction is a loop of its own.
        layer = jax.checkpoint(layer, policy=_kept(config, mesh), prevent_cse=False)
        x, _ = lax.scan(layer, self.embed(tokens), self.stacked_weights())
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

    def heads(self) -> tuple[jax.Array, jax.Array]:
        """Return the weights [ids,D], in the compute dtype, whose products with a hidden state are the logits.

        The first are for text ids, the second for vision ids.
        """
        return self._used(self.text_head), self._used(self.vision_head)

    def _used(self, parameter: nnx.Param[jax.Array]) -> jax.Array:
        """A table in the compute dtype, gathered."""
        return constrain(parameter.get_value().astype(self.config.dtype), ("model", "model"), self.mesh)


def create(config: ModelConfig, *, text_size: int, vision_size: int, mesh: Mesh, seed: int) -> Transformer:
    """Make a model whose parameters are made where they belong on `mesh`; the same numbers on any mesh."""

    def make() -> Transformer:
        return Transformer(config, text_size=text_size, vision_size=vision_size, rngs=nnx.Rngs(seed), mesh=mesh)

    graph, shapes = nnx.split(nnx.eval_shape(make))
    # It runs once, and optimizing it takes a CPU 5 s.
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


def attention_inputs(
    x: jax.Array, w: LayerWeights, by: Rotation, *, config: ModelConfig, mesh: Mesh | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return queries [B,S,N,H], keys and values [B,S,K,H] of the stream `x` [B,S,D]."""

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
    x: jax.Array, attended: jax.Array, w: LayerWeights, *, config: ModelConfig, mesh: Mesh | None
) -> jax.Array:
    """Add to the stream `x` [B,S,D] what was attended to, [B,S,N,H], and then the feed-forward."""

    def summed(x: jax.Array) -> jax.Array:
        """Add up what the devices of the axis `tensor` have, each from its heads or columns."""
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
    config: ModelConfig,
    mesh: Mesh | None,
) -> Callable[..., Any]:
    """Run `one(weights, *arrays)` over chunks of each device's tokens.

    A letter an array: t [B,S,...], h [B,S,heads,H]; `one` sees [C,...]. A chunk is computed again in backward, so what
    is kept of it is what goes in. Gradients of the weights are summed over devices once, after the last chunk.
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
    # Without vma checks the sum over devices in backward stands at the border, not inside the loop over chunks.
    mapped = jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(placed, *(specs[x] for x in inputs)),
        out_specs=made if len(made) > 1 else made[0],
        check_vma=False,
    )
    return partial(mapped, used)


def _kept(config: ModelConfig, mesh: Mesh | None) -> Callable[..., Any]:
    """Return what of a layer is kept for its backward, and where."""
    if not config.offload:
        return jax.checkpoint_policies.save_only_these_names(OUT, LSE)
    require_host_memory(jax.local_devices()[0] if mesh is None else mesh.local_devices[0])
    return jax.checkpoint_policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=[STREAM, OUT, LSE],
        offload_src="device",
        offload_dst=_HOST,
    )


def require_host_memory(device: jax.Device) -> None:
    """Raise ConfigError where there is no host memory that the device can copy to and from."""
    kinds = [memory.kind for memory in device.addressable_memories()]
    if _HOST not in kinds:
        raise ConfigError(f"offload needs devices with {_HOST} memory; {device.device_kind} has {', '.join(kinds)}")


def rms_norm(x: jax.Array, scale: jax.Array) -> jax.Array:
    """Scale `x` [...,D] to a root mean square of 1, then by `scale` [D]; computed in float32."""
    y = x.astype(jnp.float32)
    y = y * lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + _NORM_EPS)
    return (y * jnp.broadcast_to(scale.astype(jnp.float32), y.shape)).astype(x.dtype)


def over_chunks(one: Callable[..., Any], rows: Any, chunk: int) -> Any:
    """Apply `one` to a tuple of trees of arrays [T,...], at most `chunk` rows at a time, in equal parts."""
    count = len(jax.tree.leaves(rows)[0])
    parts = -(-count // chunk)

    def cut(x: jax.Array) -> jax.Array:
        padded = jnp.pad(x, [(0, -count % parts)] + [(0, 0)] * (x.ndim - 1))
        return padded.reshape(parts, -1, *x.shape[1:])

    done = lax.map(lambda part: one(*part), jax.tree.map(cut, rows))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], done)


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
