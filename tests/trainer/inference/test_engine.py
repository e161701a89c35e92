from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.errors import ConfigError
from tests.support.training.packed_sequences import VOCABULARY
from trainer.config import MeshConfig
from trainer.inference.engine import Engine, EngineConfig
from trainer.inference.requests import FrameLimits, Guidance, Request, Sampling, StopConditions
from trainer.mesh import make_mesh
from trainer.model.grammar import DocumentGrammar
from trainer.model.llama.config import debug
from trainer.model.protocol import Model
from trainer.model.registry import create

pytestmark = pytest.mark.slow

LENGTH = 75  # no multiple of page, block or devices
IDS = np.random.default_rng(0).integers(0, VOCABULARY.size, LENGTH).astype(np.int32)
GRAMMAR = DocumentGrammar(vocabulary=VOCABULARY, frame_tokens=4)
VIDEO = [VOCABULARY.bos_id, *VOCABULARY.begin_vision]
MESHES: dict[int, dict[str, int]] = {1: {}, 2: {"sequence": 2}, 8: {"sequence": 4, "tensor": 2}}
ON_EVERY_MESH = pytest.mark.parametrize("devices", [1, pytest.param(2, marks=pytest.mark.campaign), 8])


@cache
def _model() -> Model:
    mesh = make_mesh(MeshConfig(), devices=jax.devices()[:1])
    sizes = {"text_size": VOCABULARY.text_size, "vision_size": VOCABULARY.vision_size}
    return create(debug(), **sizes, mesh=mesh, seed=11)


@cache
def _engine(devices: int = 1) -> Engine:
    """An engine of three rows whose cache never grows, so that each program is compiled once."""
    mesh = make_mesh(MeshConfig(**MESHES[devices]), devices=jax.devices()[:devices]) if devices > 1 else None
    config = EngineConfig(rows=3, page=8, block=32, cache_tokens=512)
    return Engine(_model(), config=config, mesh=mesh, grammar=GRAMMAR)


@jax.jit
def _logits(tokens: jax.Array) -> jax.Array:
    positions = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None]
    hidden = _model()(tokens, jnp.ones_like(tokens), positions)
    return jnp.einsum("bsd,vd->bsv", hidden, jnp.concatenate(_model().heads()))


def _uncached(ids: Sequence[int]) -> NDArray[np.float32]:
    """Return the logits [S,V] of one pass over the whole, without a cache."""
    padded = np.zeros((1, 128), np.int32)
    padded[0, : len(ids)] = ids
    return np.asarray(_logits(jnp.asarray(padded)))[0, : len(ids)]


def _expected(ids: Sequence[int], start: int) -> NDArray[np.float32]:
    shares = np.asarray(jax.nn.log_softmax(jnp.asarray(_uncached(ids)), axis=-1))
    return shares[np.arange(start - 1, len(ids) - 1), ids[start:]]


@ON_EVERY_MESH
@pytest.mark.parametrize(("start", "stop"), [(1, 2), (1, LENGTH), (33, 70), (64, 65)])
def test_log_probabilities_from_the_cache_are_those_of_an_uncached_pass(devices: int, start: int, stop: int) -> None:
    found = _engine(devices).score(IDS[:start].tolist(), IDS[start:stop].tolist())
    np.testing.assert_allclose(found, _expected(IDS[:stop].tolist(), start), atol=1e-4, rtol=0)


def _batch() -> list[Request]:
    """Text and video, of different lengths and settings: more than the rows of the engine."""
    hot = [
        Request(prompt=IDS[:n], max_tokens=18, sampling=Sampling(temperature=3.0, seed=n, top_p=0.9), logprobs=3)
        for n in (1, 9, 40, LENGTH)
    ]
    frames = FrameLimits(least=2, most=2)
    video = Request(prompt=VIDEO, max_tokens=11, sampling=Sampling(temperature=2.0, seed=7), frames=frames)
    return [*hot, video, Request(prompt=IDS[:20], max_tokens=13, sampling=Sampling(temperature=0), logprobs=0)]


@ON_EVERY_MESH
def test_a_seed_gives_the_same_ids_on_any_number_of_devices_and_in_any_batch(devices: int) -> None:
    alone = [_engine().generate([request])[0] for request in _batch()]
    together = _engine(devices).generate(_batch())
    assert [x.ids for x in together] == [x.ids for x in alone]
    assert len(set(together[0].ids)) > 4
    assert len({x.ids[:11] for x in together}) == len(together)
    other = dataclasses.replace(_batch()[0], sampling=Sampling(temperature=3.0, seed=99, top_p=0.9))
    assert _engine(devices).generate([other])[0].ids != together[0].ids


@ON_EVERY_MESH
def test_reported_log_probabilities_are_those_of_an_uncached_pass(devices: int) -> None:
    for request, reply in zip(_batch(), _engine(devices).generate(_batch()), strict=True):
        if request.logprobs is None:
            assert not reply.logprobs
            continue
        prompt = [int(i) for i in request.prompt]
        found = [one.logprob for one in reply.logprobs]
        np.testing.assert_allclose(found, _expected([*prompt, *reply.ids], len(prompt)), atol=1e-4, rtol=0)
        assert [one.id for one in reply.logprobs] == list(reply.ids)
        assert all(len(one.alternatives) == request.logprobs for one in reply.logprobs)
    greedy = _engine(devices).generate([dataclasses.replace(_batch()[-1], logprobs=1)])[0]
    assert [one.alternatives[0] for one in greedy.logprobs] == [(one.id, one.logprob) for one in greedy.logprobs]


def test_temperature_0_takes_the_likeliest_id_of_an_uncached_pass() -> None:
    for temperature in (0, 1e-40, 1e-7):
        request = Request(prompt=IDS[:9], max_tokens=6, sampling=Sampling(temperature=temperature))
        made = _engine().generate([request])[0].ids
        assert list(made) == _uncached([*IDS[:9].tolist(), *made])[8:-1].argmax(-1).tolist()


def test_generated_ids_follow_the_grammar_at_any_temperature() -> None:
    for temperature, seed in ((1e-40, 0), (3.0, 0), (3.0, 1)):
        sampling = Sampling(temperature=temperature, top_k=9, seed=seed)
        request = Request(prompt=VIDEO, max_tokens=12, sampling=sampling, frames=FrameLimits(least=2, most=2))
        made = np.asarray(_engine().generate([request])[0].ids)
        codes = made[[0, 1, 2, 3, 5, 6, 7, 8]]
        assert np.all((codes >= VOCABULARY.text_size) & (codes < VOCABULARY.eof))
        assert made[[4, 9, 10]].tolist() == [VOCABULARY.eof, VOCABULARY.eov, *VOCABULARY.end_vision]
        assert made[11] < VOCABULARY.text_size


OTHER = [VOCABULARY.bos_id, 9, *VOCABULARY.begin_vision]
CONDITION = [VOCABULARY.bos_id, 20, 21, 22, *VOCABULARY.begin_vision]


def _guided(scale: float, *, sampling: Sampling) -> Request:
    guidance, frames = Guidance(prompt=OTHER, scale=scale), FrameLimits(least=2, most=2)
    return Request(prompt=CONDITION, max_tokens=10, sampling=sampling, frames=frames, guidance=guidance, logprobs=0)


@ON_EVERY_MESH
def test_guidance_of_scale_1_is_plain_sampling_to_the_bit(devices: int) -> None:
    guided = _guided(1.0, sampling=Sampling(temperature=2.0, seed=3))
    with_other, plain = (
        _engine(devices).generate([x])[0] for x in (guided, dataclasses.replace(guided, guidance=None))
    )
    assert with_other == plain


@pytest.mark.parametrize("scale", [0.0, 2.5, 5.0])
def test_guidance_equals_two_separate_passes(scale: float) -> None:
    reply = _engine().generate([_guided(scale, sampling=Sampling(temperature=0))])[0]
    for n, token in enumerate(reply.ids):
        condition, other = (_uncached([*prompt, *reply.ids[:n]])[-1] for prompt in (CONDITION, OTHER))
        mixed = (other + scale * (condition - other))[VOCABULARY.text_size : VOCABULARY.eof]
        if n % 5 < 4:
            assert token == VOCABULARY.text_size + mixed.argmax()
            expected = mixed.max() - np.log(np.exp(mixed - mixed.max()).sum()) - mixed.max()
            assert reply.logprobs[n].logprob == pytest.approx(expected, abs=1e-4)


def test_a_next_turn_only_runs_what_is_new() -> None:
    engine = _engine()
    first = engine.generate([Request(prompt=IDS[:50], max_tokens=20)])[0]
    turn = [*IDS[:50].tolist(), *first.ids, 5, 6, 7]
    before = dataclasses.replace(engine.speed)
    made = engine.generate([Request(prompt=turn, max_tokens=8, logprobs=0)])[0]
    assert engine.speed.reused_tokens - before.reused_tokens == 64  # whole pages of the 69 that have been run
    assert engine.speed.prompt_tokens - before.prompt_tokens == len(turn) - 1 - 64
    found = [one.logprob for one in made.logprobs]
    np.testing.assert_allclose(found, _expected([*turn, *made.ids], len(turn)), atol=1e-4, rtol=0)


def test_generation_stops_at_ids_and_texts() -> None:
    engine = _engine()
    free = engine.generate([Request(prompt=IDS[:9], max_tokens=30)])[0]
    assert free.finished == "length"
    n = next(n for n in range(9, 30) if free.ids[n] not in free.ids[:n])
    stopped = engine.generate([Request(prompt=IDS[:9], max_tokens=30, stop=StopConditions(ids=(99, free.ids[n])))])[0]
    assert (stopped.ids, stopped.finished, stopped.stopped_by) == (free.ids[:n], "stop", free.ids[n])

    def text(ids: Sequence[int]) -> str:
        return "".join(f"<{i}>" for i in ids)

    stop = StopConditions(texts=("never", text(free.ids[n - 2 : n + 1])), decode=text)
    at_text = engine.generate([Request(prompt=IDS[:9], max_tokens=30, stop=stop)])[0]
    assert (at_text.ids, at_text.finished, at_text.stopped_by) == (free.ids[: n + 1], "stop", stop.texts[1])


def test_a_host_mask_limits_every_id() -> None:
    def allowed(new: Sequence[int]) -> NDArray[np.bool_]:
        return np.arange(VOCABULARY.size) % 5 == len(new) % 5

    made = _engine().generate([Request(prompt=IDS[:9], max_tokens=10, allowed=allowed)])[0]
    assert [i % 5 for i in made.ids] == [n % 5 for n in range(10)]


def test_a_cancelled_request_frees_its_row_and_pages() -> None:
    engine = _engine()
    for _ in range(4):
        stream = engine.stream(Request(prompt=IDS, max_tokens=100))
        assert next(stream).finished is None
        stream.close()
    assert not engine.busy
    waiting = [engine.submit(Request(prompt=IDS[:5], max_tokens=8)) for _ in range(5)]
    engine.step()
    for ticket in (waiting[0], waiting[4]):
        engine.cancel(ticket)
    done: set[int] = set()
    while engine.busy:
        done |= {progress.ticket for progress in engine.step() if progress.finished}
    assert done <= set(waiting[:4])
    assert done >= set(waiting[1:4])


def test_a_full_cache_makes_requests_wait() -> None:
    long = [Request(prompt=IDS[n : n + 40], max_tokens=200, sampling=Sampling(temperature=0)) for n in range(3)]
    replies = _engine().generate(long)  # two of them fit together
    assert [len(x.ids) for x in replies] == [200] * 3
    assert replies[2] == _engine().generate(long[2:])[0]


def test_a_cache_that_grows_gives_the_same_ids() -> None:
    engine = Engine(_model(), config=EngineConfig(page=8, block=32, rows=1))
    for request in (_batch()[1], _batch()[3]):
        assert engine.generate([request])[0].ids == _engine().generate([request])[0].ids
    assert engine.cache_bytes < _engine().cache_bytes


def test_a_request_that_can_never_run_is_rejected() -> None:
    with pytest.raises(ConfigError, match="cache_tokens is 512: use at most 509"):
        _engine().submit(Request(prompt=[1, 2, 3], max_tokens=510))
    assert not _engine().busy


def test_an_engine_that_does_not_fit_is_rejected() -> None:
    with pytest.raises(ConfigError, match="data and fsdp must be 1"):
        Engine(_model(), mesh=make_mesh(MeshConfig(fsdp=2), devices=jax.devices()[:2]))
    with pytest.raises(ConfigError, match="stride must be at least 1, got 0"):
        EngineConfig(stride=0)
