"""A LLaMA-type decoder over the joint id space of text and vision, in Flax NNX.

RMSNorm (arXiv 1910.07467) before attention and before a SwiGLU feed-forward (arXiv 2002.05202), rotary positions,
grouped-query attention. Text and vision ids have separate embedding tables and heads; logits are [text | vision], over
the vocabulary of `schemas/vocab.py`.

Layers are stacked, [L, ...], and scanned, so the program has the size of one layer (`layer.py`). The backward pass
recomputes each layer from its input. By default attention is excepted: its output and log-sum-exp are saved, so its
forward does not run twice; `remat` chooses to save less or more. With `offload` the saved arrays and the layer's input
are kept in host memory; on a CPU this is the device's memory, so nothing is copied.

The order of the sequence does not matter: masks and angles follow from segment ids and positions alone.

`decoder.py` has the form that generates.

Axes: see `trainer/__init__.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh

from trainer.attention.context_parallel import LSE, OUT, attention
from trainer.config import Dtype, Remat
from trainer.mesh import HOST_MEMORY, constrain, require_host_memory
from trainer.model.llama.config import LlamaConfig
from trainer.model.llama.decoder import LlamaDecoder, make_decoder
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

# Checkpoint names of a layer's input, and of its queries, keys and values; attention has the names OUT and LSE.
STREAM, HEADS = "layer_stream", "layer_heads"
_SAVED: dict[Remat, list[str]] = {"full": [], "layer": [OUT, LSE], "projections": [OUT, LSE, HEADS]}

_HIDDEN = ("batch", "sequence", "model")


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
            q, k, v = (checkpoint_name(y, HEADS) for y in attention_inputs(x, w, by, config=config, mesh=mesh))
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

    def decoder(self, mesh: Mesh | None, *, dtype: Dtype | None = None) -> LlamaDecoder:
        """Return the inference form; see `decoder.py`."""
        return make_decoder(self, mesh, dtype=dtype)

    def _rows(self, table: nnx.Param[jax.Array], ids: jax.Array) -> jax.Array:
        """Return the rows `ids` of a table, in the compute dtype."""
        return lookup(table.get_value(), ids, ("vocab", "embed"), self.config.dtype, self.mesh)

    def _used(self, parameter: nnx.Param[jax.Array]) -> jax.Array:
        """Return a table in the compute dtype, gathered from the devices."""
        return constrain(parameter.get_value().astype(self.config.dtype), ("model", "model"), self.mesh)


def _kept(config: LlamaConfig, mesh: Mesh | None) -> Callable[..., Any]:
    """Return the rematerialization policy: the values saved for the backward pass of a layer, and where."""
    if not config.offload:
        return jax.checkpoint_policies.save_only_these_names(*_SAVED[config.remat])
    require_host_memory(jax.local_devices()[0] if mesh is None else mesh.local_devices[0])
    return jax.checkpoint_policies.save_and_offload_only_these_names(
        names_which_can_be_saved=[],
        names_which_can_be_offloaded=[STREAM, *_SAVED[config.remat]],
        offload_src="device",
        offload_dst=HOST_MEMORY,
    )
