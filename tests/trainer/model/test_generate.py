from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from schemas.errors import ConfigError
from tests.support.training.packed_sequences import VOCABULARY
from trainer.config import MeshConfig
from trainer.mesh import make_mesh
from trainer.model.generate import draw, generate, on_one_device, token_logits
from trainer.model.grammar import DocumentGrammar
from trainer.model.llama.config import debug
from trainer.model.llama.transformer import Transformer
from trainer.model.protocol import Model
from trainer.model.registry import create

pytestmark = pytest.mark.slow

LENGTH = 24
HOT = 100.0  # a temperature with nearly even odds, so that the random numbers decide


def _model(**sizes: int) -> Model:
    mesh = make_mesh(MeshConfig(**sizes), devices=jax.devices()[: int(np.prod(list(sizes.values())))])
    return create(debug(), text_size=VOCABULARY.text_size, vision_size=VOCABULARY.vision_size, mesh=mesh, seed=11)


@pytest.fixture(scope="module")
def model() -> Model:
    return on_one_device(_model(sequence=1))


@jax.jit
def _full(model: Model, tokens: jax.Array) -> jax.Array:
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32)[None], tokens.shape)
    return jnp.einsum("bsd,vd->bsv", model(tokens, jnp.ones_like(tokens), positions), jnp.concatenate(model.heads()))


def _all_logits(model: Model, tokens: jax.Array) -> jax.Array:
    """Return the logits [B,S,V] of the full forward."""
    length = tokens.shape[1]  # what follows has no effect, and one shape is compiled once
    return _full(model, jnp.pad(tokens, ((0, 0), (0, LENGTH - length))))[:, :length]


def _tokens(length: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).integers(0, VOCABULARY.size, (2, length)), jnp.int32)


def test_logits_from_the_cache_equal_those_of_the_full_forward_pass(model: Model) -> None:
    tokens, prompt = _tokens(LENGTH), 11
    full = _all_logits(model, tokens)
    head = jnp.concatenate(model.heads())
    cache, hidden = jax.jit(Transformer.prefill, static_argnames="length")(model, tokens[:, :prompt], length=LENGTH)
    np.testing.assert_allclose(token_logits(hidden, head), full[:, prompt - 1], atol=2e-5)
    step = jax.jit(Transformer.decode)
    for place in range(prompt, LENGTH):
        cache, hidden = step(model, cache, tokens[:, place], jnp.int32(place))
        np.testing.assert_allclose(token_logits(hidden, head), full[:, place], atol=2e-5)


def test_temperature_0_takes_the_most_likely_id_of_the_full_forward_pass(model: Model) -> None:
    made = generate(model, _tokens(9), steps=6, seed=0, temperature=0)
    logits = _all_logits(model, jnp.concatenate([_tokens(9), made], axis=1))
    assert jnp.array_equal(made, logits[:, 8:-1].argmax(-1))


def test_the_seed_determines_every_id(model: Model) -> None:
    first, again, other = (
        np.asarray(generate(model, _tokens(5), steps=12, seed=s, temperature=HOT)) for s in (1, 1, 2)
    )
    assert first.shape == (2, 12)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])
    assert len(set(first[0].tolist())) > 4


def test_a_sharded_model_generates_the_same_ids(model: Model) -> None:
    made = generate(_model(fsdp=2, tensor=2, sequence=2), _tokens(5), steps=12, seed=1, temperature=HOT)
    assert jnp.array_equal(made, generate(model, _tokens(5), steps=12, seed=1, temperature=HOT))


def test_generated_ids_follow_the_grammar(model: Model) -> None:
    grammar = DocumentGrammar(vocabulary=VOCABULARY, frame_tokens=4, min_frames=2, max_frames=2)
    rows = jnp.asarray([[VOCABULARY.bos_id, *VOCABULARY.begin_vision]] * 16, jnp.int32)
    made = np.asarray(generate(model, rows, steps=12, seed=0, temperature=3.0, top_k=9, grammar=grammar))
    codes = made[:, [0, 1, 2, 3, 5, 6, 7, 8]]
    assert np.all((codes >= VOCABULARY.text_size) & (codes < VOCABULARY.eof))
    assert len(np.unique(codes)) == VOCABULARY.codebook_size
    ends = [VOCABULARY.eof, VOCABULARY.eov, *VOCABULARY.end_vision]
    assert np.all(made[:, [4, 9, 10]] == ends)
    assert np.all(made[:, 11] < VOCABULARY.text_size)


def _draws(logits: jax.Array, allowed: jax.Array | None, *, temperature: float, top_k: int) -> np.ndarray:
    """Return how often each id came in 8000 draws."""
    rows = jnp.tile(logits[None], (8000, 1))
    drawn = draw(rows, allowed, jax.random.key(3), temperature=temperature, top_k=top_k)
    return np.bincount(np.asarray(drawn), minlength=len(logits))


def test_a_model_with_softmax_by_modality_requires_a_grammar(model: Model) -> None:
    graph, state = nnx.split(model)
    by_modality: Model = nnx.merge(graph, state)
    by_modality.config = dataclasses.replace(model.config, softmax="by_modality")
    with pytest.raises(ConfigError, match="by_modality.*Give a grammar"):
        generate(by_modality, jnp.ones((1, 3), jnp.int32), steps=2, seed=0)
    grammar = DocumentGrammar(vocabulary=VOCABULARY, frame_tokens=4, max_frames=2)
    # Whatever it has seen, all ids that may follow are of one modality: their odds come from one head.
    state = grammar.start(jnp.asarray(np.random.default_rng(0).integers(0, VOCABULARY.size, (300, 5)), jnp.int32))
    allowed = np.asarray(grammar.allowed(state))
    text, vision = allowed[:, : VOCABULARY.text_size].any(1), allowed[:, VOCABULARY.text_size :].any(1)
    assert np.all(text != vision)
    assert text.any()
    assert vision.any()


def test_samples_follow_the_softmax() -> None:
    logits = jnp.asarray(np.random.default_rng(1).normal(size=40), jnp.float32)
    counts = _draws(logits, None, temperature=2.0, top_k=0)
    expected = 8000 * np.asarray(jax.nn.softmax(logits / 2))
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    assert chi_squared < 39 + 5 * np.sqrt(2 * 39)  # 39 degrees of freedom, five standard deviations


def test_only_the_most_likely_allowed_ids_are_sampled() -> None:
    logits = jnp.arange(40, dtype=jnp.float32) / 40
    allowed = (jnp.arange(40) % 2 == 0)[None]
    counts = _draws(logits, allowed, temperature=1.0, top_k=3)
    assert np.flatnonzero(counts).tolist() == [34, 36, 38]
    assert np.flatnonzero(_draws(logits, allowed, temperature=0, top_k=0)).tolist() == [38]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"prompt_ids": jnp.zeros((1, 0), jnp.int32)}, "prompt_ids"),
        ({"prompt_ids": jnp.zeros(3, jnp.int32)}, "prompt_ids"),
        ({"steps": 1 << 20}, "max_positions"),
        (
            {
                "grammar": DocumentGrammar(
                    vocabulary=dataclasses.replace(VOCABULARY, codebook_size=12), frame_tokens=1, max_frames=1
                )
            },
            "14 vision ids, the model has 37 and 13",
        ),
    ],
)
def test_invalid_requests_are_rejected(model: Model, change: dict[str, Any], message: str) -> None:
    asked: dict[str, Any] = {"prompt_ids": _tokens(3), "steps": 2, "seed": 0} | change
    prompt = asked.pop("prompt_ids")
    with pytest.raises(ConfigError, match=message):
        generate(model, prompt, **asked)


@pytest.mark.parametrize("sizes", [{"frame_tokens": 0, "max_frames": 1}, {"frame_tokens": 1, "max_frames": -1}])
def test_an_invalid_grammar_is_rejected(sizes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="frame"):
        DocumentGrammar(vocabulary=VOCABULARY, **sizes)
