"""The interface between a model and everything that trains, evaluates or samples it.

A model turns token ids into hidden states; the loss and the sampler multiply these with its heads. Its `Decoder`
generates, with a cache of keys and values in pages. Neither the loss, the sampler, the grammar nor the training loop
knows anything else about a model, so a model family is one folder next to this module and one entry in `registry.py`.

Axes: see `trainer/__init__.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jax
from jax.sharding import Mesh

from trainer.attention.paged import Pages, PageView
from trainer.config import Dtype, ModelConfig


class Model(Protocol):
    """A model over the id space [text | vision] of `schemas/vocab.py`; implementations are `flax.nnx` modules.

    Parameters are float32 and carry the names of their dims (`trainer.mesh.Weight.make`), which place them on a mesh.
    """

    config: Any  # the family's subclass of ModelConfig
    text_size: int
    vision_size: int
    mesh: Mesh | None

    def __call__(self, tokens: jax.Array, segment_ids: jax.Array, positions: jax.Array) -> jax.Array:
        """Return the hidden states [B,S,D] of `tokens`, in the compute dtype; all arrays are [B,S] int32.

        A token sees tokens of its own segment at its own or an earlier position. The order of the sequence must not
        matter, because the loader permutes it (`data/layout.py`).
        """

    def heads(self) -> tuple[jax.Array, jax.Array]:
        """Return the output weights [ids,D] of text and of vision; their products with hidden states are the logits."""

    def decoder(self, mesh: Mesh | None, *, dtype: Dtype | None = None) -> Decoder:
        """Return the form that generates, on `mesh` or on the first device of this process.

        `dtype` is that of its weights, by default the model's.
        """


@dataclass(frozen=True, kw_only=True)
class CacheShape:
    """The sizes of the keys and values of one token; all 0 for a model without attention."""

    layers: int
    kv_heads: int
    head_dim: int


class Decoder(Protocol):
    """A model as the engine of `trainer/inference` runs it; implementations are pytrees of arrays.

    The only memory of earlier tokens is the pages.
    """

    @property
    def config(self) -> Any:
        """The configuration of the model."""

    @property
    def mesh(self) -> Mesh | None:
        """The mesh, with the axes of `trainer.mesh.AXES`, of which data and fsdp are 1."""

    @property
    def cache(self) -> CacheShape:
        """The sizes of a page."""

    @property
    def text_size(self) -> int:
        """Number of text ids."""

    @property
    def vision_size(self) -> int:
        """Number of vision ids."""

    def extend(self, pages: Pages, tokens: jax.Array, view: PageView) -> tuple[Pages, jax.Array]:
        """Run a block of `tokens` [R,S] at the positions of `view`; return the pages with it and its states [R,S,D].

        A token sees all tokens of its row up to its own position; those before the block are read from the pages.
        """

    def logits(self, hidden: jax.Array) -> jax.Array:
        """Return the logits [B,V] float32 of hidden states [B,D], [text | vision]."""


@dataclass(frozen=True, kw_only=True)
class StepMemory:
    """Bytes of a device during a training step, besides parameters, gradients and the optimizer's state."""

    kept: int  # activations that layers keep for the backward pass
    offloaded: int  # the same, in host memory
    working: int  # the most that one layer or the loss needs while it runs


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What `longreel plan-training` has to know of a family; both functions take its configuration first."""

    # (config, *, text_size, vision_size, mean_span): floating-point operations of a training step per token.
    flops_per_token: Callable[..., float]
    # (config, mesh, *, tokens, ids): for the tokens of a micro-batch on one device, and the ids of the vocabulary.
    step_memory: Callable[..., StepMemory]


@dataclass(frozen=True, kw_only=True)
class ModelFamily:
    """A model family as the registry lists it."""

    name: str
    config: type[ModelConfig]
    recipes: Mapping[str, Callable[[], ModelConfig]]  # by the name that `--model` takes
    # Called with the configuration and the keywords text_size, vision_size, rngs (nnx.Rngs) and mesh.
    build: Callable[..., Model]
    costs: Costs | None = None  # None: its training cannot be planned
