"""The compiled programs of the engine: run a block of a prompt, score it, and decode several steps.

They are pure functions of arrays. Settings of requests are values, so that one compilation serves all of them; shapes
depend on the number of rows, the size of the cache, and a few lengths of blocks.

Axes: B rows, S tokens of a block, V vocabulary, n devices on the axis `sequence`, J pages of a row on a device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from trainer.attention.paged import Pages, PageView
from trainer.inference.sampling import Alternatives, SamplingRows, alternatives, draw, guided, penalized
from trainer.model.grammar import DocumentGrammar, GrammarState
from trainer.model.protocol import Decoder

_SCORED = 64  # tokens whose logits are in memory together


class RowState(NamedTuple):
    """What is remembered of the ids of every row, apart from the cache."""

    seen: jax.Array  # [B,V] bool: ids of the prompt and the reply
    grammar: GrammarState | None


class RowPlaces(NamedTuple):
    """Where every row is, [B] int32."""

    last: jax.Array  # the newest id, which has not been run yet
    position: jax.Array  # its position
    remaining: jax.Array  # ids that may still be generated; 0: the row is idle


class RowSettings(NamedTuple):
    """What the requests ask for."""

    sampling: SamplingRows
    stop_ids: jax.Array  # [B,M] int32, -1 where there are fewer
    other: jax.Array  # [B] int32: the row of the other prompt of guidance, or the row itself
    leader: jax.Array  # [B] int32: the row whose ids this one takes, or the row itself
    scale: jax.Array  # [B] float32, of guidance
    bound: jax.Array  # [B] bool: follows the grammar


class Steps(NamedTuple):
    """The result of several decoding steps."""

    ids: jax.Array  # [B,steps] int32; -1 after the end of a row
    alternatives: Alternatives | None  # [B,steps], [B,steps,n]


@partial(jax.jit, donate_argnames="pages")
def run_block(decoder: Decoder, pages: Pages, tables: jax.Array, tokens: jax.Array, positions: jax.Array) -> Pages:
    """Run `tokens` [B,S] at `positions` (-1: no token) for their keys and values only."""
    return decoder.extend(pages, tokens, PageView(tables, positions))[0]


@partial(jax.jit, donate_argnames="pages")
def score_block(
    decoder: Decoder, pages: Pages, tables: jax.Array, tokens: jax.Array, positions: jax.Array, targets: jax.Array
) -> tuple[Pages, jax.Array]:
    """Run a block like `run_block`; also return the log-probabilities [B,S] of the ids that follow, `targets` [B,S]."""
    pages, hidden = decoder.extend(pages, tokens, PageView(tables, positions))

    def part(rows: tuple[jax.Array, jax.Array]) -> jax.Array:
        shares = _log_shares(decoder, decoder.logits(rows[0]))
        return jnp.take_along_axis(shares, rows[1][:, None], axis=1)[:, 0]

    flat = hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1)
    size = math.gcd(_SCORED, len(flat[1]))
    made = lax.map(part, jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), flat))
    return pages, made.reshape(targets.shape)


def _log_shares(decoder: Decoder, logits: jax.Array) -> jax.Array:
    """Return the log-probabilities of `logits` [B,V]: among all ids, or among those of their modality."""
    if decoder.config.softmax != "by_modality":
        return jax.nn.log_softmax(logits, axis=-1)
    parts = logits[:, : decoder.text_size], logits[:, decoder.text_size :]
    return jnp.concatenate([jax.nn.log_softmax(part, axis=-1) for part in parts], axis=1)


@partial(jax.jit, donate_argnames=("pages", "state"), static_argnames=("grammar", "stride", "top"))
def decode(
    decoder: Decoder,
    pages: Pages,
    state: RowState,
    places: RowPlaces,
    settings: RowSettings,
    tables: jax.Array,
    allowed: jax.Array | None,
    limit: jax.Array,
    *,
    grammar: DocumentGrammar | None,
    stride: int,
    top: int | None,
) -> tuple[Pages, RowState, Steps]:
    """Generate up to `limit` (at most `stride`) ids for every row with some remaining.

    `allowed` [B,V] also limits the first of them. `top` is the number of alternatives to report, None for no
    log-probabilities.
    """
    rows = len(places.last)

    def one(carry: tuple[jax.Array, Pages, RowState, RowPlaces, Steps]) -> Any:
        n, pages, state, places, steps = carry
        active = places.remaining > 0
        view = PageView(tables, jnp.where(active, places.position, -1)[:, None])
        pages, hidden = decoder.extend(pages, places.last[:, None], view)
        logits = _allowed_logits(decoder.logits(hidden[:, 0]), state, settings, allowed, grammar)
        drawn = draw(penalized(logits, state.seen, settings.sampling.penalty), settings.sampling, places.position + 1)
        chosen = drawn[settings.leader]
        found = None if top is None else alternatives(logits, chosen, count=top)
        steps = _recorded(steps, n, jnp.where(active, chosen, -1), found)
        stop = (chosen[:, None] == settings.stop_ids).any(-1)
        left = jnp.where(active & ~stop, places.remaining - 1, 0)
        state = _advanced(state, chosen, active, grammar)
        return n + 1, pages, state, RowPlaces(chosen, places.position + 1, left), steps

    def going(carry: Any) -> jax.Array:
        return (carry[0] < limit) & (carry[3].remaining > 0).any()

    start = (jnp.int32(0), pages, state, places, _no_steps(rows, stride, top))
    _, pages, state, _, steps = lax.while_loop(going, one, start)
    return pages, state, steps


def _allowed_logits(
    logits: jax.Array,
    state: RowState,
    settings: RowSettings,
    allowed: jax.Array | None,
    grammar: DocumentGrammar | None,
) -> jax.Array:
    """Mix the rows of guidance, and set ids that may not follow to -inf."""
    logits = guided(logits, logits[settings.other], settings.scale)
    if grammar is not None and state.grammar is not None:
        logits = jnp.where(grammar.allowed(state.grammar) | ~settings.bound[:, None], logits, -jnp.inf)
    return logits if allowed is None else jnp.where(allowed, logits, -jnp.inf)


def _advanced(state: RowState, chosen: jax.Array, active: jax.Array, grammar: DocumentGrammar | None) -> RowState:
    """Return the state after `chosen` [B]; that of idle rows, whose prompt may be running, stays as it is."""
    rows = jnp.arange(len(chosen), dtype=jnp.int32)
    seen = state.seen.at[jnp.where(active, rows, len(rows)), chosen].set(True, mode="drop")
    if grammar is None or state.grammar is None:
        return RowState(seen, None)

    def kept(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(active.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    moved: GrammarState = jax.tree.map(kept, grammar.advance(state.grammar, chosen), state.grammar)
    return RowState(seen, moved)


def _no_steps(rows: int, stride: int, top: int | None) -> Steps:
    ids = jnp.full((rows, stride), -1, jnp.int32)
    if top is None:
        return Steps(ids, None)
    chosen = jnp.zeros((rows, stride), jnp.float32)
    best = Alternatives(chosen, *(jnp.zeros((rows, stride, top), dtype) for dtype in (jnp.int32, jnp.float32)))
    return Steps(ids, best)


def _recorded(steps: Steps, n: jax.Array, ids: jax.Array, found: Alternatives | None) -> Steps:
    made = jax.tree.map(lambda kept, new: kept.at[:, n].set(new), steps, Steps(ids, found))
    result: Steps = made
    return result


@jax.jit
def admit(state: RowState, row: jax.Array, new: RowState) -> RowState:
    """Replace the state of one row by `new`, whose arrays are [1,...]."""
    made: RowState = jax.tree.map(lambda x, y: x.at[row].set(y[0]), state, new)
    return made


@partial(jax.jit, static_argnames="grammar")
def grammar_state(
    grammar: DocumentGrammar, prompt: jax.Array, count: jax.Array, least: jax.Array, most: jax.Array
) -> GrammarState:
    """Return the state of the grammar after the first `count` ids of `prompt` [1,S]."""
    return grammar.start(prompt, count, least=least, most=most)


@partial(jax.jit, static_argnames="per_device")
def with_pages(pages: Pages, decoder: Decoder, *, per_device: int) -> Pages:
    """Append empty pages until each device has `per_device`."""

    def longer(x: jax.Array) -> jax.Array:
        return jnp.pad(x, [(0, 0), (0, per_device - x.shape[1])] + [(0, 0)] * 3)

    if decoder.mesh is None:
        return Pages(*map(longer, pages))
    spec = PartitionSpec(None, "sequence", "tensor")
    grown: Callable[[jax.Array], jax.Array] = jax.shard_map(longer, mesh=decoder.mesh, in_specs=spec, out_specs=spec)
    return Pages(*map(grown, pages))


def replicated(x: Any, decoder: Decoder) -> Any:
    """Put arrays of the host on the decoder's devices."""
    if decoder.mesh is None:
        return jax.device_put(x, jax.local_devices()[0])
    return jax.device_put(x, NamedSharding(decoder.mesh, PartitionSpec()))


def rounded_up(number: int) -> int:
    """Round up to a power of two or the middle of two, so that programs are compiled for few sizes."""
    power = 1 << max(number - 1, 0).bit_length()
    return power * 3 // 4 if power >= 4 and number <= power * 3 // 4 else power
