from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from trainer.inference.sampling import SamplingRows, alternatives, draw, guided, penalized

DRAWS, SIZE = 8000, 40
LOGITS = np.random.default_rng(1).normal(size=SIZE).astype(np.float32)
_draw = jax.jit(draw)


def _rows(
    count: int, *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
) -> SamplingRows:
    values = (temperature, top_k, top_p, min_p, 1.0)
    types = (jnp.float32, jnp.int32, jnp.float32, jnp.float32, jnp.float32)
    arrays = (jnp.full(count, value, dtype) for value, dtype in zip(values, types, strict=True))
    return SamplingRows(*arrays, key=jnp.tile(jnp.asarray([[0, 3]], jnp.uint32), (count, 1)))


def _counts(logits: NDArray[np.float32], **settings: float) -> NDArray[np.int64]:
    """Return how often each id is drawn at different positions."""
    positions = jnp.arange(DRAWS, dtype=jnp.int32)
    drawn = _draw(jnp.tile(jnp.asarray(logits)[None], (DRAWS, 1)), _rows(DRAWS, **settings), positions)  # type: ignore[arg-type]
    return np.bincount(np.asarray(drawn), minlength=len(logits))


def _softmax(x: NDArray[np.floating]) -> NDArray[np.floating]:
    weights = np.exp(x - x.max())
    return weights / weights.sum()


@pytest.mark.slow
def test_samples_follow_the_softmax() -> None:
    counts, expected = _counts(LOGITS, temperature=2.0), DRAWS * _softmax(LOGITS / 2)
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    assert chi_squared < 39 + 5 * np.sqrt(2 * 39)  # 39 degrees of freedom, five standard deviations


@pytest.mark.parametrize("top_k", [1, 3, 39, 40, 1000])
def test_top_k_keeps_the_likeliest(top_k: int) -> None:
    kept = np.flatnonzero(_counts(LOGITS, top_k=top_k, temperature=30.0))
    assert kept.tolist() == sorted(np.argsort(LOGITS)[-min(top_k, SIZE) :].tolist())


@pytest.mark.parametrize("top_p", [0.01, 0.3, 0.75])
def test_top_p_keeps_the_fewest_likeliest_with_the_probability(top_p: float) -> None:
    shares = _softmax(LOGITS)
    order = np.argsort(-LOGITS)
    count = int(np.searchsorted(np.cumsum(shares[order]), top_p)) + 1
    assert np.flatnonzero(_counts(LOGITS, top_p=top_p)).tolist() == sorted(order[:count].tolist())


def test_top_p_counts_the_probability_among_those_that_top_k_keeps() -> None:
    logits = np.log(np.asarray([0.4, 0.2, 0.2, 0.1, 0.1], np.float32))
    logits[2] -= 0.01
    assert np.flatnonzero(_counts(logits, top_k=2, top_p=0.66)).tolist() == [0]
    assert np.flatnonzero(_counts(logits, top_p=0.66)).tolist() == [0, 1, 2]


def test_min_p_keeps_a_share_of_the_likeliest() -> None:
    shares = _softmax(LOGITS / 2)
    expected = np.flatnonzero(shares >= 0.3 * shares.max())
    assert np.flatnonzero(_counts(LOGITS, min_p=0.3, temperature=2.0)).tolist() == expected.tolist()


@pytest.mark.parametrize("temperature", [0.0, 1e-5, 1e-3])
def test_low_temperatures_take_the_likeliest_and_never_a_masked_id(temperature: float) -> None:
    masked = np.where(np.arange(SIZE) == LOGITS.argmax(), -np.inf, LOGITS * 1e4).astype(np.float32)
    assert np.flatnonzero(_counts(masked, temperature=temperature, top_k=5, top_p=0.9)).tolist() == [masked.argmax()]


@pytest.mark.slow
def test_an_id_depends_on_seed_and_position_alone() -> None:
    positions = jnp.asarray([7, 8, 7], jnp.int32)
    logits = jnp.tile(jnp.asarray(LOGITS)[None], (3, 1))
    rows = _rows(3, temperature=50.0)
    drawn = [np.asarray(_draw(logits, rows, positions + n)) for n in range(20)]
    alone = [np.asarray(_draw(logits[:1], jax.tree.map(lambda x: x[:1], rows), positions[:1] + n)) for n in range(20)]
    assert [x[0] for x in drawn] == [x[2] for x in drawn] == [x[0] for x in alone]
    assert [x[0] for x in drawn[1:]] == [x[1] for x in drawn[:-1]]
    assert len({int(x[0]) for x in drawn}) > 5


def test_a_penalty_lowers_seen_ids_of_either_sign() -> None:
    logits, seen = jnp.asarray([[2.0, -2.0, 2.0, -2.0]]), jnp.asarray([[True, True, False, False]])
    assert penalized(logits, seen, jnp.asarray([4.0])).tolist() == [[0.5, -8.0, 2.0, -2.0]]


def test_scale_1_of_guidance_keeps_the_logits_to_the_bit() -> None:
    logits, other = jnp.asarray(LOGITS)[None], jnp.asarray(LOGITS[::-1])[None]
    assert jnp.array_equal(guided(logits, other, jnp.ones(1)), logits)
    np.testing.assert_allclose(guided(logits, other, jnp.full(1, 3.0)), other + 3 * (logits - other), rtol=1e-6)


def test_alternatives_are_the_likeliest_ids() -> None:
    found = alternatives(jnp.asarray(LOGITS)[None], jnp.asarray([5], jnp.int32), count=3)
    shares = np.log(_softmax(LOGITS))
    assert found.ids[0].tolist() == np.argsort(-LOGITS)[:3].tolist()
    np.testing.assert_allclose(found.logprobs[0], np.sort(shares)[::-1][:3], atol=1e-5)
    assert float(found.chosen[0]) == pytest.approx(shares[5], abs=1e-5)
