"""Cross-entropy over a vocabulary, without materializing the matrix of logits.

The loss of a batch is the sum of w·ce over all tokens divided by the sum of w. Both sums are over the *global* batch;
the loss is not a mean of means over rows or devices. Logits exist for one chunk of tokens at a time. The gradient is
computed in the same pass, because it is known there up to one factor: (softmax - onehot)·w. This takes three products
with the head instead of the four of rematerialization (after Liger Kernel, arXiv 2410.10989).

    joint         one pass: a target's probability is normalized over all ids
    by_modality   two passes: text targets with the text head only, vision targets with the vision head only

Every device processes its own tokens with the whole head; the tokens of a row are split over the axes `sequence` and
`tensor`. Chunks in which no target has a weight are skipped, so padding costs nothing, and neither does a run of video
in the text pass.

Axes: see `trainer/__init__.py`; T tokens of a device, C tokens of a chunk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from schemas.errors import ConfigError
from schemas.vocab import TEXT, VISION
from trainer.config import Softmax
from trainer.mesh import AXES, RULES
from trainer.model.protocol import Model

SPLIT = (*RULES["sequence"], "tensor")  # mesh axes that the tokens of a row are split over

_Carry = TypeVar("_Carry")


class LossSums(NamedTuple):
    """Sums over the targets of a global batch, float32. The sums of several batches may be added."""

    ce: jax.Array  # sum of w·ce, in nats; the only field with a gradient
    weight: jax.Array  # sum of w
    ce_by_modality: jax.Array  # [2], indexed by schemas.vocab.TEXT and VISION; or [2,P] with the range of positions
    weight_by_modality: jax.Array  # [2] or [2,P]

    @property
    def mean(self) -> jax.Array:
        """The loss; 0 if no target has a weight."""
        return self.ce / jnp.where(self.weight > 0, self.weight, 1.0)


def position_ranges(length: int) -> list[tuple[int, int]]:
    """Return the first and last position of ranges that double, 0, 1, 2-3, 4-7, ..., for `length` tokens."""
    return [(0, 0)] + [(1 << k, min((2 << k) - 1, length - 1)) for k in range((length - 1).bit_length())]


def batch_sums(model: Model, batch: Mapping[str, jax.Array], *, by_position: bool = False) -> LossSums:
    """Return the sums that determine the loss of a batch; `by_position`, also for each of `position_ranges(S)`.

    `batch` has `tokens`, `targets`, `segment_ids`, `positions` int32 and `weights` float32, the weights of the targets.
    All are [B,S], in the same order of the sequence.
    """
    positions = batch["positions"]
    ranges = len(position_ranges(positions.shape[1])) if by_position else 1
    hidden = model(batch["tokens"], batch["segment_ids"], batch["positions"])
    about = model.config
    return loss_sums(
        hidden,
        model.heads(),
        batch["targets"],
        batch["weights"],
        parts=(32 - lax.clz(positions), ranges) if by_position else None,
        softmax=about.softmax,
        chunk=about.chunk,
        mesh=model.mesh,
    )


def loss_sums(
    hidden: jax.Array,
    heads: tuple[jax.Array, jax.Array],
    targets: jax.Array,
    weights: jax.Array,
    *,
    parts: tuple[jax.Array, int] | None = None,
    softmax: Softmax,
    chunk: int,
    mesh: Mesh | None,
) -> LossSums:
    """Sum the weighted cross-entropy of `targets` [B,S] int32, given `hidden` [B,S,D] and the text and vision `heads`.

    Both heads are [ids,D]; targets at or above the number of text ids are vision. `weights` [B,S] is float32. `parts`
    divides the sums by modality further: a number [B,S] int32 for each target, and how many there are. Raises
    ConfigError if the mesh does not divide the sequence.
    """
    if mesh is not None and hidden.shape[1] % (devices := math.prod(mesh.shape[axis] for axis in SPLIT)):
        raise ConfigError(f"{hidden.shape[1]} tokens cannot be split over {' x '.join(SPLIT)} = {devices} devices")
    text_size = heads[TEXT].shape[0]
    modality = jnp.where(targets >= text_size, VISION, TEXT).astype(jnp.int32)
    part, count = parts or (0, 1)
    group = modality * count + part
    ce = partial(_weighted_ce, chunk, 2 * count, mesh)
    if softmax == "joint" or not len(heads[VISION]):
        total, by_group = ce(hidden, jnp.concatenate(heads), targets, weights, group)
    else:
        passes = (
            ce(hidden, heads[m], jnp.where(modality == m, targets - first, 0), _only(weights, modality == m), group)
            for m, first in ((TEXT, 0), (VISION, text_size))
        )
        total, by_group = jax.tree.map(jnp.add, *passes)
    weight_by_group = _by_group(weights, group, 2 * count)
    shape = (2,) if parts is None else (2, count)
    return LossSums(
        total, weight_by_group.sum(), lax.stop_gradient(by_group).reshape(shape), weight_by_group.reshape(shape)
    )


def _only(weights: jax.Array, chosen: jax.Array) -> jax.Array:
    return jnp.where(chosen, weights, 0.0)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _weighted_ce(
    chunk: int,
    groups: int,
    mesh: Mesh | None,
    hidden: jax.Array,
    head: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    group: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Return the sum of w·ce, and the sums [groups] by `group`; `targets` are row indices of `head` [V,D]."""
    local = partial(_local_ce, chunk=chunk, groups=groups)
    (ce,) = _over(mesh, local, "hwttt", "s")(hidden, head, targets, weights, group)
    return ce.sum(), ce


def _weighted_ce_forward(
    chunk: int, groups: int, mesh: Mesh | None, *arrays: jax.Array
) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    local = partial(_local_ce_and_gradients, chunk=chunk, groups=groups)
    ce, d_hidden, d_head = _over(mesh, local, "hwttt", "shw")(*arrays)
    return (ce.sum(), ce), (d_hidden, d_head)


def _weighted_ce_backward(
    chunk: int,
    groups: int,
    mesh: Mesh | None,
    gradients: tuple[jax.Array, jax.Array],
    upstream: tuple[jax.Array, jax.Array],
) -> tuple[jax.Array | None, ...]:
    del chunk, groups, mesh
    d_hidden, d_head = ((g.astype(jnp.float32) * upstream[0]).astype(g.dtype) for g in gradients)
    return d_hidden, d_head, None, None, None


_weighted_ce.defvjp(_weighted_ce_forward, _weighted_ce_backward)


def _over(mesh: Mesh | None, local: Callable[..., Any], inputs: str, outputs: str) -> Callable[..., Any]:
    """Run `local` on the tokens of every device.

    `inputs` and `outputs` have one letter per array: h hidden states, t one number per token, w head, s sums.
    """
    if mesh is None:
        return partial(local, axes=())
    tokens = PartitionSpec(RULES["batch"], SPLIT)
    specs = {"h": PartitionSpec(*tokens, None), "t": tokens, "w": PartitionSpec(), "s": PartitionSpec()}
    return jax.shard_map(
        partial(local, axes=AXES),
        mesh=mesh,
        in_specs=tuple(specs[x] for x in inputs),
        out_specs=tuple(specs[x] for x in outputs),
        check_vma=False,  # nothing is differentiated through it
    )


class _Chunks(NamedTuple):
    """Tokens grouped into chunks: hidden [n,C,D], the other arrays [n,C]."""

    hidden: jax.Array
    targets: jax.Array
    weights: jax.Array
    group: jax.Array

    @classmethod
    def of(cls, *arrays: jax.Array, chunk: int) -> _Chunks:
        """Reshape [B,S,...] into equal chunks of at most `chunk` tokens; padding of the last chunk has weight 0."""
        tokens = math.prod(arrays[0].shape[:2])
        parts = -(-tokens // chunk)

        def cut(x: jax.Array) -> jax.Array:
            flat = x.reshape(tokens, *x.shape[2:])
            padded = jnp.pad(flat, [(0, -tokens % parts)] + [(0, 0)] * (flat.ndim - 1))
            return padded.reshape(parts, -1, *x.shape[2:])

        return cls(*map(cut, arrays))

    def loop(self, one: Callable[[jax.Array, _Chunks, _Carry], _Carry], start: _Carry) -> _Carry:
        """Run `one(number, chunk, carry)` over the chunks in which a target has a weight."""
        live = (self.weights != 0).any(axis=1)
        order = jnp.argsort(~live, stable=True).astype(jnp.int32)

        def step(n: jax.Array, carry: _Carry) -> _Carry:
            return one(order[n], _Chunks(*(x[order[n]] for x in self)), carry)

        return lax.fori_loop(0, live.sum(dtype=jnp.int32), step, start)


def _local_ce(
    hidden: jax.Array,
    head: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    group: jax.Array,
    *,
    chunk: int,
    groups: int,
    axes: tuple[str, ...],
) -> tuple[jax.Array]:
    def step(_: jax.Array, part: _Chunks, ce: jax.Array) -> jax.Array:
        logits = _logits(part.hidden, head)
        return ce + _chunk_ce(logits, jax.nn.logsumexp(logits, axis=-1), part, groups)

    chunks = _Chunks.of(hidden, targets, weights, group, chunk=chunk)
    return (lax.psum(chunks.loop(step, jnp.zeros(groups)), axes),)


def _local_ce_and_gradients(
    hidden: jax.Array,
    head: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    group: jax.Array,
    *,
    chunk: int,
    groups: int,
    axes: tuple[str, ...],
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the sums of w·ce [groups], and their gradients by this device's `hidden` and, over devices, by `head`."""
    Carry = tuple[jax.Array, jax.Array, jax.Array]

    def step(number: jax.Array, part: _Chunks, carry: Carry) -> Carry:
        ce, d_hidden, d_head = carry
        logits = _logits(part.hidden, head)
        highest = logits.max(-1)
        powers = jnp.exp(logits - highest[:, None])
        total = powers.sum(-1)
        ce = ce + _chunk_ce(logits, highest + jnp.log(total), part, groups)
        chosen = lax.broadcasted_iota(jnp.int32, logits.shape, 1) == part.targets[:, None]
        onehot = jnp.where(chosen, part.weights[:, None], 0.0)
        d_logits = (powers * (part.weights / total)[:, None] - onehot).astype(head.dtype)
        d_head = d_head + jnp.einsum("cv,cd->vd", d_logits, part.hidden, preferred_element_type=jnp.float32)
        return ce, d_hidden.at[number].set(d_logits @ head), d_head

    chunks = _Chunks.of(hidden, targets, weights, group, chunk=chunk)
    start = jnp.zeros(groups), jnp.zeros_like(chunks.hidden), jnp.zeros(head.shape, jnp.float32)
    ce, d_hidden, d_head = chunks.loop(step, start)
    d_hidden = d_hidden.reshape(-1, hidden.shape[-1])[: math.prod(hidden.shape[:2])].reshape(hidden.shape)
    return lax.psum(ce, axes), d_hidden, lax.psum(d_head, axes).astype(head.dtype)


def _logits(hidden: jax.Array, head: jax.Array) -> jax.Array:
    return jnp.einsum("cd,vd->cv", hidden, head, preferred_element_type=jnp.float32)


def _chunk_ce(logits: jax.Array, lse: jax.Array, part: _Chunks, groups: int) -> jax.Array:
    """Return the sums of w·ce of a chunk, [groups]."""
    at_target = jnp.take_along_axis(logits, part.targets[:, None], axis=1)[:, 0]
    return _by_group((lse - at_target) * part.weights, part.group, groups)


def _by_group(values: jax.Array, group: jax.Array, groups: int) -> jax.Array:
    return jnp.stack([values.sum(where=group == g) for g in range(groups)])
