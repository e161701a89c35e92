"""The inference form of a LLaMA-type decoder: weights in the compute dtype, one set per layer, on their devices.

Weights are cast once and are not split over the mesh axis `sequence`, because a token would have to gather all of them.
Layers are separate arrays and the loop over them is unrolled: a slice of stacked weights is a copy of a layer for every
token.

Axes: those of `trainer/__init__.py`; R rows of a block.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from trainer.attention.paged import Pages, PageView, extend_pages
from trainer.mesh import partition
from trainer.model.llama.config import LlamaConfig
from trainer.model.llama.layer import after_attention, attention_inputs, layer_weights, rms_norm
from trainer.model.llama.rope import rotation
from trainer.model.protocol import CacheShape

if TYPE_CHECKING:
    from trainer.model.llama.transformer import Transformer


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LlamaDecoder:
    """Implements `trainer.model.protocol.Decoder`."""

    embeddings: tuple[jax.Array, ...]  # of text, and of vision if there is any: [ids,D]
    heads: tuple[jax.Array, ...]  # the same
    layers: tuple[dict[str, jax.Array], ...]
    final_norm: jax.Array
    config: LlamaConfig = field(metadata={"static": True})
    mesh: Mesh | None = field(metadata={"static": True})

    @property
    def cache(self) -> CacheShape:
        """The sizes of a page."""
        return CacheShape(layers=self.config.layers, kv_heads=self.config.kv_heads, head_dim=self.config.head_dim)

    @property
    def text_size(self) -> int:
        """Number of text ids."""
        return len(self.heads[0])

    @property
    def vision_size(self) -> int:
        """Number of vision ids."""
        return sum(map(len, self.heads[1:]))

    def extend(self, pages: Pages, tokens: jax.Array, view: PageView) -> tuple[Pages, jax.Array]:
        """Run a block of `tokens` [R,S]; return the pages with it and its hidden states [R,S,D]."""
        config, length = self.config, tokens.shape[1]
        split = self.mesh is not None and length > 1 and length % self.mesh.shape["sequence"] == 0
        mesh = self.mesh if split else None  # of everything but attention; a single token is the same on all devices
        by = rotation(
            jnp.maximum(view.positions, 0),
            head_dim=config.head_dim,
            theta=config.rope_theta,
            max_positions=config.max_positions,
            scaling=config.rope_scaling,
        )
        x = self._embed(tokens)
        for n, w in enumerate(self.layers):
            q, k, v = attention_inputs(x, w, by, config=config, mesh=mesh)
            pages, attended = extend_pages(pages, n, q, k, v, view, mesh=self.mesh, split=split)
            x = after_attention(x, attended, w, config=config, mesh=mesh)
        return pages, rms_norm(x, self.final_norm, eps=config.norm_eps)

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Return the logits [B,V] float32 of hidden states [B,D]."""
        made = [jnp.einsum("bd,vd->bv", hidden, head, preferred_element_type=jnp.float32) for head in self.heads]
        return jnp.concatenate(made, axis=1) if len(made) > 1 else made[0]

    def _embed(self, tokens: jax.Array) -> jax.Array:
        """Look up `tokens` [R,S] in the table of their modality: [R,S,D]."""
        if len(self.embeddings) == 1:
            return jnp.take(self.embeddings[0], tokens, axis=0)
        text_table, vision_table = self.embeddings
        vision = tokens >= len(text_table)
        text = jnp.take(text_table, jnp.where(vision, 0, tokens), axis=0)
        codes = jnp.take(vision_table, jnp.where(vision, tokens - len(text_table), 0), axis=0)
        return jnp.where(vision[..., None], codes, text)


def make_decoder(model: Transformer, mesh: Mesh | None) -> LlamaDecoder:
    """Return the inference form of `model` on `mesh`, or on the first device of this process."""
    config = model.config
    declared = layer_weights(config)

    def placed(x: jax.Array, dims: tuple[str, ...]) -> jax.Array:
        if mesh is None:
            return jax.device_put(x, jax.local_devices()[0])
        return jax.device_put(x, NamedSharding(mesh, partition(dims, x.shape, mesh, over=("tensor",))))

    def table(parameter: nnx.Param[jax.Array]) -> jax.Array:
        return placed(parameter.get_value().astype(config.dtype), ("vocab", "model"))

    stacked = {name: w.astype(config.dtype) for name, w in model.stacked_weights().items()}
    layers = tuple(
        {name: placed(w[n], declared[name].dims) for name, w in stacked.items()} for n in range(config.layers)
    )
    embeddings = [model.text_embedding] + ([model.vision_embedding] if model.vision_size else [])
    heads = [model.text_head] + ([model.vision_head] if model.vision_size else []) if not config.tied_heads else []
    tables = tuple(map(table, embeddings))
    return LlamaDecoder(
        embeddings=tables,
        heads=tuple(map(table, heads)) or tables,
        layers=layers,
        final_norm=placed(model.final_norm.get_value(), ("model",)),
        config=config,
        mesh=mesh,
    )
