"""A LLaMA-type decoder over the joint id space of text and vision, in Flax NNX.

RMSNorm (arXiv 1910.07467) before attention and before a SwiGLU feed-forward (arXiv 2002.05202), rotary positions,
grouped-query attention. Text and vision ids have separate embedding tables and heads; logits are [text | vision], over
the vocabulary of `schemas/vocab.py`.

Layers are stacked, [L, ...], and scanned, so the program has the size of one layer (`layer.py`). The backward pass
recomputes each layer except attention: its output and log-sum-exp are saved, so its forward does not run twice. With
`offload` the saved arrays (these two and the layer's input) are kept in host memory; on a CPU this is the device's
memory, so nothing is copied.

The order of the sequence does not matter: masks and angles follow from segment ids and positions alone.

Sampling keeps the keys and values of every layer. A decoding step reads all weights and the whole cache,
L*C*K*H*2 numbers per row, however much of it is filled.

Axes: see `trainer/__init__.py`; C length of the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh

from trainer.attention.context_parallel import LSE, OUT, attention
from trainer.mesh import HOST_MEMORY, constrain, require_host_memory
from trainer.model.llama.config import LlamaConfig
from trainer.model.llama.layer import (
    after_attention,
    attention_inputs,
    gathered,
    layer_weights,
    norm_weight,
    rms_norm,
    table_weight,
)
from trainer.model.llama.rope import Rotation, rotation
from trainer.model.weights import lookup

STREAM = "layer_stream"  # checkpoint name of a layer's input, saved together with attention's OUT and LSE

_HIDDEN = ("batch", "sequence", "model")


class Cache(NamedTuple):
    """Keys and values of all layers, [L,B,C,K,H] in the compute dtype; unfilled entries are 0."""

    k: jax.Array
    v: jax.Array


class Transformer(nnx.Module):
    """The decoder. Parameters are float32 and carry the names of their dims; `trainer.mesh.shardings` places them."""

    def __init__(
        self, config: LlamaConfig, *, text_size: int, vision_size: int, rngs: nnx.Rngs, mesh: Mesh | None = None
    ) -> None:
        """Initialize the parameters; `vision_size` counts the codes, <eof> and <eov>, or is 0. See `registry.create`.

        Raises ConfigError if the mesh axis `tensor` does not divide heads or feed-forward columns.
        """
        if mesh is not None:
            config.require_mesh(mesh.shape)
        self.config, self.text_size, self.vision_size, self.mesh = config, text_size, vision_size, mesh
        dim = config.dim
        self.text_embedding = table_weight(text_size, dim).make(rngs.params())
        if vision_size:
            self.vision_embedding = table_weight(vision_size, dim).make(rngs.params())
        self.layers = nnx.Dict(
            {name: w.stacked(config.layers).make(rngs.params()) for name, w in layer_weights(config).items()}
        )
        self.final_norm = norm_weight(dim).make(rngs.params())
        if not config.tied_heads:
            self.text_head = table_weight(text_size, dim).make(rngs.params())
        if vision_size and not config.tied_heads:
            self.vision_head = table_weight(vision_size, dim).make(rngs.params())

    def __call__(self, tokens: jax.Array, segment_ids: jax.Array, positions: jax.Array) -> jax.Array:
        """Return the normed hidden states [B,S,D], in the compute dtype, of `tokens`; all arrays [B,S] int32."""
        by, config, mesh = self.rotation(positions), self.config, self.mesh
        attend = partial(attention, mesh=mesh, tile=config.tile, method=config.attention)

        def layer(x: jax.Array, stored: Mapping[str, jax.Array]) -> tuple[jax.Array, None]:
            x, w = checkpoint_name(x, STREAM), gathered(stored, config, mesh)
            q, k, v = attention_inputs(x, w, by, config=config, mesh=mesh)
            attended = attend(q, k, v, segment_ids, positions)
            return after_attention(x, attended, w, config=config, mesh=mesh), None

        # Forward and backward are separate loops, so common subexpressions cannot be merged across them.
        layer = jax.checkpoint(layer, policy=_kept(config, mesh), prevent_cse=False)
        x, _ = lax.scan(layer, self.embed(tokens), self.stacked_weights())
        return self.normed(x)

    def embed(self, tokens: jax.Array) -> jax.Array:
        """Look up `tokens` [B,S] in the table of their modality: [B,S,D]."""
        if not self.vision_size:
            return constrain(self._rows(self.text_embedding, tokens), _HIDDEN, self.mesh)
        vision = tokens >= self.text_size
        text = self._rows(self.text_embedding, jnp.where(vision, 0, tokens))
        codes = self._rows(self.vision_embedding, jnp.where(vision, tokens - self.text_size, 0))
        return constrain(jnp.where(vision[..., None], codes, text), _HIDDEN, self.mesh)

    def rotation(self, positions: jax.Array) -> Rotation:
        """Return the rotary angles for `positions` [B,S]."""
        c = self.config
        return rotation(
            positions,
            head_dim=c.head_dim,
            theta=c.rope_theta,
            max_positions=c.max_positions,
            scaling=c.rope_scaling,
        )

    def stacked_weights(self) -> dict[str, jax.Array]:
        """Return the stored weights of all layers, [L, ...]."""
        return {name: parameter.get_value() for name, parameter in self.layers.items()}

    def normed(self, x: jax.Array) -> jax.Array:
        """Apply the final norm, before the heads."""
        return rms_norm(x, self.final_norm.get_value(), eps=self.config.norm_eps)

    def heads(self) -> tuple[jax.Array, jax.Array]:
        """Return the output weights [ids,D] of text and of vision, in the compute dtype.

        Their products with a hidden state are the logits.
        """
        tied = self.config.tied_heads
        text = self._used(self.text_embedding if tied else self.text_head)
        if not self.vision_size:
            return text, text[:0]
        return text, self._used(self.vision_embedding if tied else self.vision_head)

    def prefill(self, prompt: jax.Array, *, length: int) -> tuple[Cache, jax.Array]:
        """Run `prompt` [B,S]; return a cache with room for `length` tokens and the last hidden state [B,D]."""
        config = self.config
        positions = jnp.broadcast_to(jnp.arange(prompt.shape[1], dtype=jnp.int32)[None], prompt.shape)
        by, segment_ids = self.rotation(positions), jnp.ones_like(prompt)

        def layer(x: jax.Array, stored: dict[str, jax.Array]) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            w = gathered(stored, config, None)
            q, k, v = attention_inputs(x, w, by, config=config, mesh=None)
            attended = attention(q, k, v, segment_ids, positions, mesh=None, tile=config.tile)
            return after_attention(x, attended, w, config=config, mesh=None), (k, v)

        x, filled = lax.scan(layer, self.embed(prompt), self.stacked_weights())
        room = [(0, 0), (0, 0), (0, length - prompt.shape[1]), (0, 0), (0, 0)]
        return Cache(*(jnp.pad(x, room) for x in filled)), self.normed(x[:, -1:])[:, 0]

    def decode(self, cache: Cache, tokens: jax.Array, position: jax.Array) -> tuple[Cache, jax.Array]:
        """Run one token per row, `tokens` [B] at `position` [] int32; return the cache and its hidden state [B,D]."""
        config, stored = self.config, self.stacked_weights()
        by = self.rotation(jnp.full((len(tokens), 1), position, jnp.int32))

        def layer(n: jax.Array, carry: tuple[jax.Array, Cache]) -> tuple[jax.Array, Cache]:
            x, cache = carry
            w = gathered({name: weight[n] for name, weight in stored.items()}, config, None)
            q, k, v = attention_inputs(x, w, by, config=config, mesh=None)
            # The carry of a loop is updated in place; an output of a scan would copy the cache in every step.
            cache = Cache(cache.k.at[n, :, position].set(k[:, 0]), cache.v.at[n, :, position].set(v[:, 0]))
            attended = _attend_cached(q, cache.k[n], cache.v[n], position)
            return after_attention(x, attended, w, config=config, mesh=None), cache

        x, cache = lax.fori_loop(0, config.layers, layer, (self.embed(tokens[:, None]), cache))
        return cache, self.normed(x)[:, 0]

    def _rows(self, table: nnx.Param[jax.Array], ids: jax.Array) -> jax.Array:
        """Return the rows `ids` of a table, in the compute dtype."""
        return lookup(table.get_value(), ids, ("vocab", "embed"), self.config.dtype, self.mesh)

    def _used(self, parameter: nnx.Param[jax.Array]) -> jax.Array:
        """Return a table in the compute dtype, gathered from the devices."""
        return constrain(parameter.get_value().astype(self.config.dtype), ("model", "model"), self.mesh)


def _kept(config: LlamaConfig, mesh: Mesh | None) -> Callable[..., Any]:
    """Return the rematerialization policy: the values saved for the backward pass of a layer, and where."""
    if not config.offload:
        return jax.checkpoint_policies.save_only_these_names(OUT, LSE)
    require_host_memory(jax.local_devices()[0] if mesh is None else mesh.local_devices[0])
    return jax.checkpoint_policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=[STREAM, OUT, LSE],
        offload_src="device",
        offload_dst=HOST_MEMORY,
    )


def _attend_cached(q: jax.Array, k: jax.Array, v: jax.Array, position: jax.Array) -> jax.Array:
    """Attend from one query per row, [B,1,N,H], to keys and values [B,C,K,H] up to `position`."""
    by_group = q.reshape(q.shape[0], k.shape[2], -1, q.shape[-1])
    scores = jnp.einsum("bkgh,bskh->bkgs", by_group, k, preferred_element_type=jnp.float32)
    seen = jnp.broadcast_to((jnp.arange(k.shape[1], dtype=jnp.int32) <= position)[None, None, None], scores.shape)
    weights = jax.nn.softmax(jnp.where(seen, scores / math.sqrt(q.shape[-1]), -jnp.inf), axis=-1)
    return jnp.einsum("bkgs,bskh->bkgh", weights.astype(v.dtype), v).reshape(q.shape)
