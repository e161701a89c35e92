from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.errors import ConfigError
from schemas.vocab import Vocabulary
from tests.support.training.packed_sequences import VOCABULARY
from trainer.model.grammar import DocumentGrammar

P = 4  # codes of a frame
SPELLED = dataclasses.replace(VOCABULARY, begin_vision=(7, 8, 9), end_vision=(7, 10))


@partial(jax.jit, static_argnames=("grammar", "steps", "least", "most"))
def _walk(
    grammar: DocumentGrammar, prompt: jax.Array, *, steps: int, likelier: jax.Array, least: int = 0, most: int = 5
) -> jax.Array:
    """Follow the grammar blindly: draw among what it allows, `likelier` [V] added to all logits of 0."""

    def step(state, key):
        allowed = grammar.allowed(state)
        chosen = jax.random.categorical(key, jnp.where(allowed, likelier[None], -jnp.inf)).astype(jnp.int32)
        return grammar.advance(state, chosen), (chosen, allowed.any(axis=1))

    limits = (jnp.full(len(prompt), n, jnp.int32) for n in (least, most))
    start = grammar.start(prompt, **dict(zip(("least", "most"), limits, strict=True)))
    _, (made, possible) = jax.lax.scan(step, start, jax.random.split(jax.random.key(0), steps))
    return jnp.where(possible, made, -1).T


def test_without_ids_for_a_video_only_texts_are_possible() -> None:
    vocabulary = dataclasses.replace(VOCABULARY, begin_vision=(), end_vision=())
    grammar = DocumentGrammar(vocabulary=vocabulary, frame_tokens=P)
    made = np.asarray(_walk(grammar, jnp.full((8, 3), 5, jnp.int32), steps=40, likelier=_likelier(), least=1))
    assert np.all((made >= 0) & (made < VOCABULARY.text_size))


def _likelier(*ids: int) -> jax.Array:
    return jnp.asarray(np.where(np.isin(np.arange(VOCABULARY.size), ids), 4.0, 0.0), jnp.float32)


def _read(ids: list[int], vocabulary: Vocabulary) -> tuple[int, int, bool]:
    """Read a document by the rules of the format: return whole frames, videos closed, and if it has ended.

    Fails at the first id that is against them.
    """
    text: list[int] = []
    due: list[int] = []
    frames = videos = place = 0
    begin, end = list(vocabulary.begin_vision), list(vocabulary.end_vision)
    inside = ended = False
    for i in ids:
        if ended:
            assert i == vocabulary.eos_id
        elif due:
            assert i == due.pop(0)
            text.append(i)
        elif not inside:
            assert 0 <= i < vocabulary.text_size
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
            videos += 1
    return frames, videos, ended


@pytest.mark.slow
@pytest.mark.parametrize("vocabulary", [VOCABULARY, SPELLED], ids=["one-id", "spelled"])
def test_every_allowed_path_is_a_document_within_its_frame_budget(vocabulary: Vocabulary) -> None:
    grammar = DocumentGrammar(vocabulary=vocabulary, frame_tokens=P)
    code, eof, filler = vocabulary.text_size, vocabulary.eof, 20
    frame = [code] * P
    prompts = [
        [vocabulary.bos_id],
        [*vocabulary.begin_vision],
        [*vocabulary.begin_vision, *frame, eof, code],  # in the midst of a frame
        [*vocabulary.begin_vision, *frame, eof, *frame],  # before <eof> or <eov>
        [*vocabulary.begin_vision, *frame, eof, *frame, eof],
        [*vocabulary.begin_vision, *frame, vocabulary.eov],  # before </vision>
        [*vocabulary.begin_vision, *frame, vocabulary.eov, vocabulary.end_vision[0]],
        [vocabulary.begin_vision[0]] if vocabulary is SPELLED else [filler],  # half a marker
    ]
    length = max(map(len, prompts)) + 1
    rows = [[filler] * (length - len(prompt)) + prompt for prompt in prompts]
    markers = _likelier(*vocabulary.begin_vision, vocabulary.end_vision[-1])
    made = np.asarray(_walk(grammar, jnp.asarray(rows * 8), steps=150, likelier=markers))
    results = [_read([*row, *ids], vocabulary) for row, ids in zip(rows * 8, made.tolist(), strict=True)]
    given = [_read(row, vocabulary)[0] for row in rows * 8]
    fresh = [frames - before for (frames, _, _), before in zip(results, given, strict=True)]
    assert max(fresh) == 5
    assert max(videos for _, videos, _ in results) > 2
    assert any(ended for _, _, ended in results)


def _video(likelier: jax.Array, *, least: int) -> NDArray[np.int32]:
    grammar = DocumentGrammar(vocabulary=VOCABULARY, frame_tokens=P)
    prompt = jnp.asarray([[VOCABULARY.bos_id, *VOCABULARY.begin_vision]] * 8, jnp.int32)
    return np.asarray(_walk(grammar, prompt, steps=3 * (P + 1) + 1, likelier=likelier, least=least, most=3))


def test_an_exact_number_of_frames_can_be_requested() -> None:
    made = _video(_likelier(VOCABULARY.eov), least=3)
    assert np.all(made[:, [P, 2 * P + 1]] == VOCABULARY.eof)
    assert np.all(made[:, 3 * P + 2] == VOCABULARY.eov)
    assert np.all(made[:, -1] == VOCABULARY.end_vision[0])


def test_the_model_decides_between_min_and_max_frames() -> None:
    ends = _video(_likelier(), least=1)[:, P].tolist()
    assert set(ends) == {VOCABULARY.eof, VOCABULARY.eov}


@pytest.mark.slow
def test_an_eos_in_the_prompt_does_not_end_what_follows() -> None:
    grammar, one = DocumentGrammar(vocabulary=VOCABULARY, frame_tokens=P), jnp.ones(1, jnp.int32)
    state = grammar.start(
        jnp.asarray([[20, VOCABULARY.eos_id, 20, 0, 0]], jnp.int32), jnp.int32(3), least=one, most=one
    )
    assert np.asarray(grammar.allowed(state))[0, : VOCABULARY.end_vision[0]].all()


def test_a_frame_without_codes_is_rejected() -> None:
    with pytest.raises(ConfigError, match="frame_tokens must be at least 1, got 0"):
        DocumentGrammar(vocabulary=VOCABULARY, frame_tokens=0)
