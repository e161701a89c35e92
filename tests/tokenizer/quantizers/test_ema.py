from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from schemas.errors import ConfigError
from tests.support.vqgan.quantizer_examples import noise
from tokenizer.quantizers.base import nearest_codes
from tokenizer.quantizers.ema import EmaConfig, EmaState, update

pytestmark = pytest.mark.slow


def test_initial_codes_are_distinct_latents_if_there_are_enough() -> None:
    latents = noise(50, 4)
    state = EmaConfig().init(latents, jax.random.key(3), codes=50, mean_count=0.5).state
    as_rows = {tuple(row) for row in np.asarray(state.codebook).tolist()}
    assert as_rows == {tuple(row) for row in np.asarray(latents).tolist()}
    np.testing.assert_array_equal(state.counts, np.full(50, 0.5, np.float32))


def test_initial_codes_repeat_latents_if_there_are_fewer_latents_than_codes() -> None:
    state = EmaConfig().init(noise(3, 4), jax.random.key(3), codes=8, mean_count=1.0).state
    _, counts = np.unique(np.asarray(state.codebook), axis=0, return_counts=True)
    assert sorted(counts.tolist()) == [2, 3, 3]


def test_codes_are_moving_averages_of_their_latents() -> None:
    state = EmaState(jnp.asarray([[0.0], [10.0]]), jnp.asarray([2.0, 2.0]), jnp.asarray([[0.0], [20.0]]))
    latents = jnp.asarray([[1.0], [3.0], [12.0]])
    config = EmaConfig(decay=0.75, restart_below=0.0)
    new, restarted = update(state, latents, jnp.asarray([0, 0, 1]), jax.random.key(0), config=config)
    np.testing.assert_allclose(new.counts, [0.75 * 2 + 0.25 * 2, 0.75 * 2 + 0.25 * 1])
    np.testing.assert_allclose(new.codebook[:, 0], [(0.25 * 4) / 2.0, (0.75 * 20 + 0.25 * 12) / 1.75])
    assert int(restarted) == 0


def test_a_code_below_its_share_of_the_mean_count_restarts_on_a_latent_of_the_batch() -> None:
    uses = jnp.asarray([1.0, 1.0, 1.0, 0.1])
    state = EmaState(noise(4, 2), uses, noise(4, 2) * uses[:, None])
    latents = noise(6, 2, seed=7) + 100.0
    config = EmaConfig(decay=0.99, restart_below=0.25)
    new, restarted = update(state, latents, jnp.asarray([0, 1, 2, 0, 1, 2]), jax.random.key(0), config=config)
    assert int(restarted) == 1
    assert np.isclose(np.asarray(latents), np.asarray(new.codebook)[3], rtol=1e-5).all(-1).any()
    # Judged by the mean before the restart, and then put on it.
    np.testing.assert_allclose(new.counts[3], (0.99 * 3.1 + 0.01 * 6) / 4, rtol=1e-5)


def test_scaling_batch_and_uses_together_restarts_the_same_codes() -> None:
    codes = jnp.asarray([0, 0, 1, 2])
    latents = noise(4, 2, seed=5)
    config = EmaConfig(decay=0.9, restart_below=0.25)
    counts = []
    for times in (1, 50):
        uses = jnp.asarray([1.0, 1.0, 0.2, 0.02]) * times
        state = EmaState(noise(4, 2), uses, noise(4, 2) * uses[:, None])
        big = jnp.tile(latents, (times, 1))
        _, restarted = update(state, big, jnp.tile(codes, times), jax.random.key(0), config=config)
        counts.append(int(restarted))
    assert counts == [1, 1]


@pytest.mark.parametrize(("restart_below", "all_found"), [(0.25, True), (0.0, False)])
def test_restarts_move_codes_to_clusters_without_a_code(restart_below: float, all_found: bool) -> None:
    """Eight clusters, and codes that all begin far away from them: without restarts one code takes them all."""
    centers = noise(8, 4, seed=1) * 20
    data = centers[jnp.arange(256) % 8] + noise(256, 4, seed=2) * 0.1
    config = EmaConfig(decay=0.9, restart_below=restart_below)
    state: EmaState = config.init_from_codebook(noise(24, 4, seed=3) * 0.1 + 1000, mean_count=256 / 24).state

    @jax.jit
    def step(state: EmaState, key: jax.Array) -> EmaState:
        return update(state, data, nearest_codes(data, state.codebook), key, config=config)[0]

    for i in range(100):
        state = step(state, jax.random.key(i))
    chosen = state.codebook[nearest_codes(data, state.codebook)]
    assert bool(jnp.abs(chosen - data).max() < 1.0) is all_found


@pytest.mark.parametrize("change", [{"decay": 1.0}, {"decay": -0.1}, {"restart_below": 1.5}])
def test_an_option_outside_its_range_is_rejected(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"must be in \[0, 1\), got"):
        EmaConfig(**change)
