"""The inference form of a LLaMA-type decoder: weights in the compute dtype, one set per layer, on their devices.

Weights are cast once and are not split over the mesh axis `sequence`, because a token would have to gather all of them.
Layers are separate arrays and the loop over them is unrolled: a slice of stacked weights is a copy of a layer for every
token. On a single CPU device, matrices are divided into parts: XLA computes the product of one token and a matrix in
one thread, and products of different matrices at the same time. Weights in bfloat16 are `Pairs` there, and everything
else is in float32.

Axes: those of `trainer/__init__.py`; R rows of a block.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from trainer.attention.paged import Pages, PageView, extend_pages
from trainer.config import Dtype
from trainer.mesh import partition
from trainer.model.llama.config import LlamaConfig
from trainer.model.llama.layer import LayerWeights, Parts, after_attention, attention_inputs, layer_weights, rms_norm
from trainer.model.llama.matrices import Matrix, Pairs, columns, times
from trainer.model.llama.rope import rotation
from trainer.model.protocol import CacheShape

if TYPE_CHECKING:
    from trainer.model.llama.transformer import Transformer


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LlamaDecoder:
    """Implements `trainer.model.protocol.Decoder`."""

    embeddings: tuple[Matrix, ...]  # one table or more for the ids of text, then of vision: [D,ids]
    heads: tuple[Matrix, ...]  # the same
    layers: tuple[LayerWeights, ...]
    final_norm: jax.Array
    text_size: int = field(metadata={"static": True})  # number of text ids
    vision_size: int = field(metadata={"static": True})
    config: LlamaConfig = field(metadata={"static": True})
    mesh: Mesh | None = field(metadata={"static": True})

    @property
    def cache(self) -> CacheShape:
        """The sizes of a page."""
        return CacheShape(layers=self.config.layers, kv_heads=self.config.kv_heads, head_dim=self.config.head_dim)

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
        made = [times(hidden, head, jnp.dtype(jnp.float32)) for head in self.heads]
        return jnp.concatenate(made, axis=1) if len(made) > 1 else made[0]

    def _embed(self, tokens: jax.Array) -> jax.Array:
        """Look up `tokens` [R,S] in the tables, which have consecutive ids: [R,S,D]."""
        made, start = None, 0
        for table in self.embeddings:
            size = (table.words if isinstance(table, Pairs) else table).shape[-1]
            inside = (tokens >= start) & (tokens < start + size)
            found = columns(table, jnp.where(inside, tokens - start, 0))
            made = found if made is None else jnp.where(inside[..., None], found, made)
            start += size
        assert made is not None
        return made


def make_decoder(model: Transformer, mesh: Mesh | None, *, dtype: Dtype | None = None) -> LlamaDecoder:
    """Return the inference form of `model` on `mesh`, or on the first device of this process.

    `dtype` is that of its weights, by default the model's.
    """
    parts = _parts(mesh)
    dtype = dtype or model.config.dtype
    pairs = dtype == "bfloat16" and mesh is None and _on_cpu()
    config = replace(model.config, dtype="float32" if pairs else dtype)
    declared = layer_weights(config)

    def placed(x: jax.Array, dims: tuple[str, ...]) -> jax.Array:
        x = x.astype(config.dtype)
        if mesh is None:
            return jax.device_put(x, jax.local_devices()[0])
        return jax.device_put(x, NamedSharding(mesh, partition(dims, x.shape, mesh, over=("tensor",))))

    def matrices(x: jax.Array, count: int, *, columns: str = "model") -> tuple[Matrix, ...]:
        whole = [placed(part, ("model", columns)) for part in jnp.array_split(x, count, axis=1)]
        return tuple(map(Pairs.of, whole)) if pairs else tuple(whole)

    def tables(parameters: Sequence[nnx.Param[jax.Array]]) -> tuple[Matrix, ...]:
        return tuple(part for one in parameters for part in matrices(one.get_value().T, parts, columns="vocab"))

    def layer_weight(name: str, w: jax.Array) -> jax.Array | Parts:
        if mesh is not None or name not in _MATRICES:
            return placed(w, declared[name].dims)
        matrix = w.reshape(math.prod(w.shape[: _MATRICES[name].input_dims]), -1)
        return matrices(matrix, max(1, parts // _MATRICES[name].together))

    stacked = model.stacked_weights()
    layers = tuple({name: layer_weight(name, w[n]) for name, w in stacked.items()} for n in range(config.layers))
    embeddings = [model.text_embedding] + ([model.vision_embedding] if model.vision_size else [])
    heads = [model.text_head] + ([model.vision_head] if model.vision_size else []) if not config.tied_heads else []
    embedding_tables = tables(embeddings)
    return LlamaDecoder(
        embeddings=embedding_tables,
        heads=tables(heads) or embedding_tables,
        layers=layers,
        final_norm=placed(model.final_norm.get_value(), ("model",)),
        text_size=model.text_size,
        vision_size=model.vision_size,
        config=config,
        mesh=mesh,
    )


class _Matrix(NamedTuple):
    """How a matrix of a layer is divided."""

    input_dims: int  # the first dims of the weight, which are summed over
    together: int  # how many matrices of this size are multiplied at the same time


_MATRICES = {
    "query": _Matrix(1, 2),
    "key": _Matrix(1, 4),
    "value": _Matrix(1, 4),
    "output": _Matrix(2, 1),
    "gate": _Matrix(1, 2),
    "up": _Matrix(1, 2),
    "down": _Matrix(1, 1),
}
_MOST_PARTS = 8


def _parts(mesh: Mesh | None) -> int:
    """Return into how many parts a matrix is divided: one per thread, as XLA has one per processor."""
    if mesh is not None or not _on_cpu():
        return 1
    return min(os.cpu_count() or 1, _MOST_PARTS)


def _on_cpu() -> bool:
    return jax.local_devices()[0].platform == "cpu"
