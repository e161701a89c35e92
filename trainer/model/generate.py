"""Sampling from a model: one pass over the prompt, then an id at a time with the keys and values kept.

The loop over steps is one jitted program. The same seed gives the same ids on the same machine and versions. A grammar
(`grammar.py`) limits at every step which ids may follow.

Cost: a step reads all weights and the whole cache, L·(S + steps)·K·H·2 numbers a row, however much of it is filled.
Limits: weights and cache lie on one device, the first of this process; rows of a batch have prompts of one length, and
each is the start of one document.

Axes: see `trainer/__init__.py`; C = S + steps, the length of the cache.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from schemas.errors import ConfigError
from trainer.attention.context_parallel import attention
from trainer.model.grammar import DocumentGrammar
from trainer.model.transformer import Transformer, after_attention, attention_inputs, gathered


class Cache(NamedTuple):
    """Keys and values of all layers, [L,B,C,K,H] in the compute dtype; what is not filled yet is 0."""

    k: jax.Array
    v: jax.Array


def generate(
    model: Transformer,
    prompt_ids: jax.Array,
    *,
    steps: int,
    seed: int,
    temperature: float = 1.0,
    top_k: int = 0,
    grammar: DocumentGrammar | None = None,
) -> jax.Array:
    """Continue `prompt_ids` [B,S] int32 (S >= 1) by `steps` ids, and return those: [B,steps] int32.

    Ids are drawn from the softmax of logits / temperature, among the `top_k` likeliest (0: all) of those that
    `grammar` allows (None: all); temperature 0 takes the likeliest. Raises ConfigError for sizes that cannot be, and
    for a model with a softmax by modality where there is no grammar.
    """
    _check(model, prompt_ids, steps=steps, temperature=temperature, top_k=top_k, grammar=grammar)
    graph, state = nnx.split(on_one_device(model))
    return _generate(
        graph,
        state,
        jnp.asarray(prompt_ids, jnp.int32),
        jax.random.key(seed),
        steps=steps,
        temperature=temperature,
        top_k=top_k,
        grammar=grammar,
    )


def on_one_device(model: Transformer) -> Transformer:
    """Return a copy of `model` without a mesh, its parameters on the first device of this process."""
    graph, state = nnx.split(model)
    alone: Transformer = nnx.merge(graph, jax.device_put(state, jax.local_devices()[0]))
    alone.mesh = None
    return alone


def prefill(model: Transformer, prompt: jax.Array, *, length: int) -> tuple[Cache, jax.Array]:
    """Run the prompt [B,S]: return a cache of `length` with its keys and values, and the logits [B,V] after it."""
    config = model.config
    positions = jnp.broadcast_to(jnp.arange(prompt.shape[1], dtype=jnp.int32)[None], prompt.shape)
    by, segment_ids = model.rotation(positions), jnp.ones_like(prompt)

    def layer(x: jax.Array, stored: dict[str, jax.Array]) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        w = gathered(stored, config, None)
        q, k, v = attention_inputs(x, w, by, config=config, mesh=None)
        attended = attention(q, k, v, segment_ids, positions, mesh=None, tile=config.tile)
        return after_attention(x, attended, w, config=config, mesh=None), (k, v)

    x, kept = lax.scan(layer, model.embed(prompt), model.stacked_weights())
    room = [(0, 0), (0, 0), (0, length - prompt.shape[1]), (0, 0), (0, 0)]
    return Cache(*(jnp.pad(x, room) for x in kept)), _logits(model, x[:, -1:], jnp.concatenate(model.heads()))


def decode(
    model: Transformer, cache: Cache, tokens: jax.Array, position: jax.Array, head: jax.Array
) -> tuple[Cache, jax.Array]:
    """Run one id a row, `tokens` [B] at `position` [] int32: return the cache with it and the logits [B,V] after it."""
    config, stored = model.config, model.stacked_weights()
    by = model.rotation(jnp.full((len(tokens), 1), position, jnp.int32))

    def layer(n: jax.Array, carry: tuple[jax.Array, Cache]) -> tuple[jax.Array, Cache]:
        x, cache = carry
        w = gathered({name: weight[n] for name, weight in stored.items()}, config, None)
        q, k, v = attention_inputs(x, w, by, config=config, mesh=None)
        # In the carry of a loop this writes in place; as an output of a scan it would copy the cache every step.
        cache = Cache(cache.k.at[n, :, position].set(k[:, 0]), cache.v.at[n, :, position].set(v[:, 0]))
        attended = _attend_cached(q, cache.k[n], cache.v[n], position)
        return after_attention(x, attended, w, config=config, mesh=None), cache

    x, cache = lax.fori_loop(0, config.layers, layer, (model.embed(tokens[:, None]), cache))
    return cache, _logits(model, x, head)


def draw(logits: jax.Array, allowed: jax.Array | None, key: jax.Array, *, temperature: float, top_k: int) -> jax.Array:
    """Draw one id a row from `logits` [B,V] among those that are `allowed`, bool [B,V]: [B] int32."""
    if allowed is not None:
        logits = jnp.where(allowed, logits, -jnp.inf)
    if temperature == 0:
        return logits.argmax(axis=-1).astype(jnp.int32)
    if 0 < top_k < logits.shape[-1]:
        least = lax.top_k(logits, top_k)[0][:, -1:]
        logits = jnp.where(logits >= least, logits, -jnp.inf)
    return jax.random.categorical(key, logits / temperature, axis=-1).astype(jnp.int32)


@partial(jax.jit, static_argnames=("graph", "steps", "temperature", "top_k", "grammar"))
def _generate(
    graph: nnx.GraphDef[Transformer],
    state: nnx.State,
    prompt: jax.Array,
    key: jax.Array,
    *,
    steps: int,
    temperature: float,
    top_k: int,
    grammar: DocumentGrammar | None,
) -> jax.Array:
    model = nnx.merge(graph, state)
    head, start = jnp.concatenate(model.heads()), prompt.shape[1]

    def sample(logits: jax.Array, place: Any, step: jax.Array) -> tuple[jax.Array, Any]:
        allowed = None if grammar is None else grammar.allowed(place)
        chosen = draw(logits, allowed, jax.random.fold_in(key, step), temperature=temperature, top_k=top_k)
        return chosen, None if grammar is None else grammar.advance(place, chosen)

    def one(carry: tuple[Cache, jax.Array, Any], step: jax.Array) -> tuple[tuple[Cache, jax.Array, Any], jax.Array]:
        cache, logits, place = carry
        chosen, place = sample(logits, place, step)
        cache, logits = decode(model, cache, chosen, start + step, head)
        return (cache, logits, place), chosen

    cache, logits = prefill(model, prompt, length=start + steps - 1)
    place = None if grammar is None else grammar.start(prompt)
    counted = jnp.arange(steps - 1, dtype=jnp.int32)
    (_, logits, place), chosen = lax.scan(one, (cache, logits, place), counted)
    last, _ = sample(logits, place, jnp.asarray(steps - 1, jnp.int32))  # nothing follows it, so it is not run
    return jnp.concatenate([chosen.T, last[:, None]], axis=1)


def _attend_cached(q: jax.Array, k: jax.Array, v: jax.Array, position: jax.Array) -> jax.Array:
    """Attend from one query a row, [B,1,N,H], to keys and values [B,C,K,H] up to `position`."""
    by_group = q.reshape(q.shape[0], k.shape[2], -1, q.shape[-1])
    scores = jnp.einsum("bkgh,bskh->bkgs", by_group, k, preferred_element_type=jnp.float32)
    seen = jnp.broadcast_to((jnp.arange(k.shape[1], dtype=jnp.int32) <= position)[None, None, None], scores.shape)
    weights = jax.nn.softmax(jnp.where(seen, scores / math.sqrt(q.shape[-1]), -jnp.inf), axis=-1)
    return jnp.einsum("bkgs,bskh->bkgh", weights.astype(v.dtype), v).reshape(q.shape)


def _logits(model: Transformer, x: jax.Array, head: jax.Array) -> jax.Array:
    """Return the logits [B,V] float32 of the stream `x` [B,1,D]."""
    return jnp.einsum("bd,vd->bv", model.normed(x)[:, 0], head, preferred_element_type=jnp.float32)


def _check(
    model: Transformer,
    prompt_ids: jax.Array,
    *,
    steps: int,
    temperature: float,
    top_k: int,
    grammar: DocumentGrammar | None,
) -> None:
    if prompt_ids.ndim != 2 or 0 in prompt_ids.shape:
        raise ConfigError(f"prompt_ids must be [B,S] with at least one id a row, got shape {prompt_ids.shape}")
    if steps < 1 or temperature < 0 or top_k < 0:
        raise ConfigError(
            f"steps must be at least 1, temperature and top_k not negative; got {steps}, {temperature} and {top_k}"
        )
    if prompt_ids.shape[1] + steps > model.config.max_positions:
        raise ConfigError(
            f"a prompt of {prompt_ids.shape[1]} ids and {steps} steps go beyond max_positions = "
            f"{model.config.max_positions}"
        )
    if grammar is None and model.config.softmax == "by_modality":
        raise ConfigError(
            "the model's softmax is by_modality: it tells text ids apart, and vision ids, but not which of the two "
            "comes next. Give a grammar, which does."
        )
    sizes = (model.text_size, model.vision_size)
    if grammar and sizes != (grammar.vocabulary.text_size, grammar.vocabulary.vision_size):
        raise ConfigError(
            f"the grammar is for {grammar.vocabulary.text_size} text and {grammar.vocabulary.vision_size} vision ids, "
            f"the model has {sizes[0]} and {sizes[1]}"
        )
