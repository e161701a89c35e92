"""A model family that only tests use: the next token depends on the current one alone.

It implements `trainer.model.protocol` in the fewest lines, without attention, to show that loss, sampling and training
loop depend on nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from trainer.attention.paged import Pages, PageView
from trainer.config import Dtype, ModelConfig
from trainer.mesh import Weight
from trainer.model.protocol import CacheShape, ModelFamily


@dataclass(frozen=True, kw_only=True)
class BigramConfig(ModelConfig):
    """The only shape: the width of the embedding."""

    shape_fields: ClassVar[tuple[str, ...]] = ("width",)
    width: int = 8

    def require_mesh(self, mesh: Mapping[str, int]) -> None:
        """Accept any mesh."""


class Bigram(nnx.Module):
    """Hidden states are embeddings."""

    def __init__(
        self, config: BigramConfig, *, text_size: int, vision_size: int, rngs: nnx.Rngs, mesh: Mesh | None = None
    ) -> None:
        self.config, self.text_size, self.vision_size, self.mesh = config, text_size, vision_size, mesh

        def table(rows: int) -> nnx.Param[jax.Array]:
            shape, init = (rows, config.width), jax.nn.initializers.normal(0.3)
            return Weight(shape=shape, dims=("vocab", "embed"), init=init).make(rngs.params())

        self.embedding = table(text_size + vision_size)
        self.text_head, self.vision_head = table(text_size), table(vision_size)

    def __call__(self, tokens: jax.Array, segment_ids: jax.Array, positions: jax.Array) -> jax.Array:
        return jnp.take(self.embedding.get_value(), tokens, axis=0)

    def heads(self) -> tuple[jax.Array, jax.Array]:
        return self.text_head.get_value(), self.vision_head.get_value()

    def decoder(self, mesh: Mesh | None, *, dtype: Dtype | None = None) -> BigramDecoder:
        return BigramDecoder(self.embedding.get_value(), *self.heads(), config=self.config, mesh=mesh)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class BigramDecoder:
    """Needs no memory of earlier tokens."""

    embedding: jax.Array
    text_head: jax.Array
    vision_head: jax.Array
    config: BigramConfig = field(metadata={"static": True})
    mesh: Mesh | None = field(metadata={"static": True})

    @property
    def cache(self) -> CacheShape:
        return CacheShape(layers=0, kv_heads=0, head_dim=0)

    @property
    def text_size(self) -> int:
        return len(self.text_head)

    @property
    def vision_size(self) -> int:
        return len(self.vision_head)

    def extend(self, pages: Pages, tokens: jax.Array, view: PageView) -> tuple[Pages, jax.Array]:
        return pages, jnp.take(self.embedding, tokens, axis=0)

    def logits(self, hidden: jax.Array) -> jax.Array:
        return hidden @ jnp.concatenate([self.text_head, self.vision_head]).T


FAMILY = ModelFamily(
    name="bigram",
    config=BigramConfig,
    recipes={"bigram": lambda: BigramConfig(tile=16, chunk=32)},
    build=Bigram,
)
