"""Sampling from a model: one pass over the prompt, then one token at a time with the model's cache.

The loop over steps is one jitted program. The same seed gives the same ids on the same machine and versions. A grammar
(`grammar.py`) limits which ids may follow at each step.

Cost: see the model's `decode`. Limits: weights and cache are on one device, the first of this process; all prompts of a
batch have the same length, and each one starts a document.

Axes: see `trainer/__init__.py`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from schemas.errors import ConfigError
from trainer.model.grammar import DocumentGrammar
from trainer.model.protocol import Cache, Model


def generate(
    model: Model,
    prompt_ids: jax.Array,
    *,
    steps: int,
    seed: int,
    temperature: float = 1.0,
    top_k: int = 0,
    grammar: DocumentGrammar | None = None,
) -> jax.Array:
    """Continue `prompt_ids` [B,S] int32 (S >= 1) by `steps` ids, and return those: [B,steps] int32.

    Ids are drawn from the softmax of logits / temperature, among the `top_k` most likely (0: all) of those that
    `grammar` allows (None: all). Temperature 0 takes the most likely id. Raises ConfigError for invalid sizes, and for
    a model with softmax by_modality when there is no grammar.
    """
    _check_sampling(prompt_ids, steps=steps, temperature=temperature, top_k=top_k)
    _check_model(model, prompt_ids.shape[1] + steps, grammar=grammar)
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


def on_one_device(model: Model) -> Model:
    """Return a copy of `model` without a mesh, with its parameters on the first device of this process."""
    graph, state = nnx.split(model)
    alone = nnx.merge(graph, jax.device_put(state, jax.local_devices()[0]))
    alone.mesh = None
    return alone


def draw(logits: jax.Array, allowed: jax.Array | None, key: jax.Array, *, temperature: float, top_k: int) -> jax.Array:
    """Draw one id per row from `logits` [B,V] among those that are `allowed`, bool [B,V]: [B] int32."""
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
    graph: nnx.GraphDef[Model],
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

    def sample(hidden: jax.Array, place: Any, step: jax.Array) -> tuple[jax.Array, Any]:
        allowed = None if grammar is None else grammar.allowed(place)
        logits = token_logits(hidden, head)
        chosen = draw(logits, allowed, jax.random.fold_in(key, step), temperature=temperature, top_k=top_k)
        return chosen, None if grammar is None else grammar.advance(place, chosen)

    def one(carry: tuple[Cache, jax.Array, Any], step: jax.Array) -> tuple[tuple[Cache, jax.Array, Any], jax.Array]:
        cache, hidden, place = carry
        chosen, place = sample(hidden, place, step)
        cache, hidden = model.decode(cache, chosen, start + step)
        return (cache, hidden, place), chosen

    cache, hidden = model.prefill(prompt, length=start + steps - 1)
    place = None if grammar is None else grammar.start(prompt)
    counted = jnp.arange(steps - 1, dtype=jnp.int32)
    (_, hidden, place), chosen = lax.scan(one, (cache, hidden, place), counted)
    last, _ = sample(hidden, place, jnp.asarray(steps - 1, jnp.int32))  # the last id does not go through the model
    return jnp.concatenate([chosen.T, last[:, None]], axis=1)


def token_logits(hidden: jax.Array, head: jax.Array) -> jax.Array:
    """Return the logits [B,V] float32 of hidden states [B,D], given the head [V,D]."""
    return jnp.einsum("bd,vd->bv", hidden, head, preferred_element_type=jnp.float32)


def _check_sampling(prompt_ids: jax.Array, *, steps: int, temperature: float, top_k: int) -> None:
    if prompt_ids.ndim != 2 or 0 in prompt_ids.shape:
        raise ConfigError(f"prompt_ids must be [B,S] with at least one id per row, got shape {prompt_ids.shape}")
    if steps < 1 or temperature < 0 or top_k < 0:
        raise ConfigError(
            f"steps must be at least 1, temperature and top_k not negative; got {steps}, {temperature} and {top_k}"
        )


def _check_model(model: Model, length: int, *, grammar: DocumentGrammar | None) -> None:
    """Raise ConfigError unless `model` can produce documents of `length` tokens under `grammar`."""
    if length > model.config.max_positions:
        raise ConfigError(
            f"the prompt and the steps add up to {length} tokens, but the model's max_positions is "
            f"{model.config.max_positions}: use a shorter prompt or fewer steps"
        )
    if grammar is None and model.config.softmax == "by_modality":
        raise ConfigError(
            "the model was trained with softmax by_modality, which does not predict whether text or vision comes next. "
            "Give a grammar, which decides it."
        )
    sizes = (model.text_size, model.vision_size)
    if grammar and sizes != (grammar.vocabulary.text_size, grammar.vocabulary.vision_size):
        raise ConfigError(
            f"the grammar is for {grammar.vocabulary.text_size} text and {grammar.vocabulary.vision_size} vision ids, "
            f"the model has {sizes[0]} and {sizes[1]}"
        )
