from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from schemas.errors import ConfigError
from schemas.vocab import Vocabulary
from tests.trainer.sequences import VOCABULARY
from trainer.config import MeshConfig, debug
from trainer.generate import decode, generate, on_one_device, prefill
from trainer.grammar import DocumentGrammar
from trainer.mesh import make_mesh
from trainer.model import Transformer, create

P = 4  # codes of a frame
SPELLED = dataclasses.replace(VOCABULARY, begin_vision=(7, 8, 9), end_vision=(7, 10))
EOF, EOV = VOCABULARY.eof, VOCABULARY.eov


def _model(**sizes: int) -> Transformer:
    mesh = make_mesh(MeshConfig(**sizes), devices=jax.devices()[: int(np.prod(list(sizes.values())))])
    return create(debug(), text_size=VOCABULARY.text_size, vision_size=VOCABULARY.vision_size, mesh=mesh, seed=11)


@pytest.fixture(scope="module")
def model() -> Transformer:
    return on_one_device(_model(sequence=1))


@jax.jit
def _all_logits(model: Transformer, tokens: jax.Array) -> jax.Array:
    """Return the logits [B,S,V] of the full forward."""
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32)[None], tokens.shape)
    return jnp.einsum("bsd,vd->bsv", model(tokens, jnp.ones_like(tokens), positions), model.head())


def _tokens(rows: int, length: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).integers(0, VOCABULARY.size, (rows, length)), jnp.int32)


def test_logits_from_the_cache_are_those_of_the_full_forward(model: Transformer) -> None:
    tokens, prompt = _tokens(2, 40), 21
    full = _all_logits(model, tokens)
    cache, logits = jax.jit(prefill, static_argnames="length")(model, tokens[:, :prompt], length=40)
    np.testing.assert_allclose(logits, full[:, prompt - 1], atol=2e-5)
    step = jax.jit(decode)
    for place in range(prompt, 40):
        cache, logits = step(model, cache, tokens[:, place], jnp.int32(place), model.head())
        np.testing.assert_allclose(logits, full[:, place], atol=2e-5)


def test_temperature_0_takes_the_likeliest_of_the_full_forward(model: Transformer) -> None:
    prompt = _tokens(2, 9)
    made = generate(model, prompt, steps=6, seed=0, temperature=0)
    logits = _all_logits(model, jnp.concatenate([prompt, made], axis=1))
    assert jnp.array_equal(made, logits[:, 8:-1].argmax(-1))
    assert jnp.array_equal(made, generate(model, prompt, steps=6, seed=1, top_k=1))


def test_draws_follow_the_softmax(model: Transformer) -> None:
    prompt = jnp.tile(_tokens(1, 5), (4000, 1))
    counts = np.bincount(np.asarray(generate(model, prompt, steps=1, seed=3, temperature=2.0))[:, 0], minlength=50)
    expected = 4000 * np.asarray(jax.nn.softmax(_all_logits(model, prompt[:1])[0, -1] / 2))
    chi_squared = float((((counts - expected) ** 2) / expected).sum())
    assert chi_squared < 49 + 5 * np.sqrt(2 * 49)  # 49 degrees of freedom, five standard deviations


def test_only_the_likeliest_are_drawn(model: Transformer) -> None:
    prompt = jnp.tile(_tokens(1, 5), (500, 1))
    drawn = set(np.asarray(generate(model, prompt, steps=1, seed=3, top_k=3))[:, 0].tolist())
    assert drawn == set(np.asarray(jnp.argsort(_all_logits(model, prompt[:1])[0, -1])[-3:]).tolist())


def test_the_seed_decides_every_id(model: Transformer) -> None:
    first, again, other = (np.asarray(generate(model, _tokens(2, 5), steps=24, seed=s)) for s in (1, 1, 2))
    assert first.shape == (2, 24)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])


def test_a_model_that_lies_on_a_mesh_generates_the_same(model: Transformer) -> None:
    made = generate(_model(fsdp=2, tensor=2, sequence=2), _tokens(1, 5), steps=8, seed=4)
    assert jnp.array_equal(made, generate(model, _tokens(1, 5), steps=8, seed=4))


def _whole_frames(ids: list[int], vocabulary: Vocabulary) -> tuple[int, bool]:
    """Read a document from its start by the rules of the format; return its whole frames and if it has ended.

    Fails at the first id that is against them. An independent reading, one id after another.
    """
    text, frames, place = [], 0, 0
    begin, end = list(vocabulary.begin_vision), list(vocabulary.end_vision)
    due: list[int] = []
    inside = ended = False
    for i in ids:
        if ended:
            assert i == vocabulary.eos_id
        elif due:
            assert i == due.pop(0)
            text.append(i)
        elif not inside:
            assert i < vocabulary.text_size
            text.append(i)
            ended = i == vocabulary.eos_id
            assert text[-len(end) :] != end
            if text[-len(begin) :] == begin:
                inside, place = True, 0
        elif place < P:
            assert vocabulary.text_size <= i < vocabulary.eof
            place += 1
            frames += place == P
        elif i == vocabulary.eof:
            place = 0
        else:
            assert i == vocabulary.eov
            inside, text, due = False, [], list(end)
    return frames, ended


@pytest.mark.parametrize("vocabulary", [VOCABULARY, SPELLED], ids=["one-id", "spelled"])
@pytest.mark.parametrize("open_frames", [0, 2])
def test_what_is_generated_keeps_the_grammar(model: Transformer, vocabulary: Vocabulary, open_frames: int) -> None:
    grammar = DocumentGrammar(vocabulary=vocabulary, frame_tokens=P, max_frames=5)
    code = vocabulary.text_size
    start = [vocabulary.bos_id, *vocabulary.begin_vision, *([code] * P + [vocabulary.eof]) * open_frames]
    for extra in ([], [code] * 2, [code] * P):
        prompt = start + extra
        rows = jnp.asarray([prompt] * 16, jnp.int32)
        made = np.asarray(generate(model, rows, steps=90, seed=len(prompt), temperature=3.0, grammar=grammar))
        for row in made.tolist():
            frames, _ = _whole_frames(prompt + row, vocabulary)
            assert 1 <= frames <= open_frames + (len(extra) == P) + 5
        assert len({tuple(row) for row in made.tolist()}) == 16


def test_text_opens_and_closes_videos_of_its_own(model: Transformer) -> None:
    grammar = DocumentGrammar(vocabulary=VOCABULARY, frame_tokens=P, max_frames=5)
    prompt = jnp.full((64, 1), VOCABULARY.bos_id, jnp.int32)
    made = np.asarray(generate(model, prompt, steps=200, seed=0, temperature=5.0, grammar=grammar))
    read = [_whole_frames([VOCABULARY.bos_id, *row], VOCABULARY) for row in made.tolist()]
    assert max(frames for frames, _ in read) == 5
    assert sum(ended for _, ended in read) > 32


def test_a_number_of_frames_can_be_asked_for(model: Transformer) -> None:
    grammar = DocumentGrammar(vocabulary=VOCABULARY, frame_tokens=P, min_frames=3, max_frames=3)
    prompt = jnp.asarray([[1, 5]] * 8, jnp.int32)
    made = np.asarray(generate(model, prompt, steps=3 * (P + 1) + 1, seed=0, grammar=grammar))
    assert np.all(made[:, [P, 2 * P + 1]] == EOF)
    assert np.all(made[:, 3 * P + 2] == EOV)
    assert np.all(made[:, -1] == VOCABULARY.end_vision[0])


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
            "12 .* vision|14 vision",
        ),
    ],
)
def test_what_cannot_be_is_refused(model: Transformer, change: dict[str, Any], message: str) -> None:
    asked: dict[str, Any] = {"prompt_ids": _tokens(1, 3), "steps": 2, "seed": 0} | change
    prompt = asked.pop("prompt_ids")
    with pytest.raises(ConfigError, match=message):
        generate(model, prompt, **asked)


@pytest.mark.parametrize("sizes", [{"frame_tokens": 0, "max_frames": 1}, {"frame_tokens": 1, "max_frames": -1}])
def test_a_grammar_that_cannot_be_is_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="frame"):
        DocumentGrammar(vocabulary=VOCABULARY, **sizes)
