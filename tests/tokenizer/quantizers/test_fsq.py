from __future__ import annotations

import re

import jax.numpy as jnp
import numpy as np
import pytest

from schemas.errors import ConfigError
from tests.support.vqgan.quantizer_examples import KEY, initialized
from tests.support.vqgan.tiny_vqgan import TINY
from tokenizer.quantizers.fsq import FsqConfig


@pytest.mark.slow
def test_each_dim_of_the_bounded_latent_is_rounded() -> None:
    quantizer, variables, latents = initialized("fsq", count=2000, seed=3)
    levels = (4, 4, 2)
    bounded = np.tanh(np.asarray(latents, np.float64))
    steps = [np.round((bounded[:, d] + 1) / 2 * (n - 1)).astype(int) for d, n in enumerate(levels)]
    codes = np.asarray(quantizer.quantize(variables, latents, KEY).codes)
    np.testing.assert_array_equal(codes, np.ravel_multi_index(tuple(steps), levels))


def test_the_codebook_size_is_the_product_of_the_levels() -> None:
    model = FsqConfig(levels=(8, 5, 5, 5)).configure(TINY)
    assert (model.codebook_size, model.latent_dim, model.lookup) == (1000, 4, "bounded")


def test_the_grid_has_evenly_spaced_levels_and_the_last_dim_varies_fastest() -> None:
    expected = [[-1, -1], [-1, 0], [-1, 1], [1, -1], [1, 0], [1, 1]]
    np.testing.assert_array_equal(FsqConfig(levels=(2, 3)).grid(), np.array(expected, np.float32))


def test_the_grid_of_other_levels_is_rejected() -> None:
    with pytest.raises(ConfigError, match=r"\[32, 3\] is not the grid of the levels \(4, 2, 4\)"):
        FsqConfig(levels=(4, 2, 4)).init_from_codebook(FsqConfig(levels=(4, 4, 2)).grid(), mean_count=1.0)


def test_a_grid_stored_as_float16_is_accepted_and_restored_to_float32() -> None:
    quantizer = FsqConfig(levels=(8, 5))
    variables = quantizer.init_from_codebook(quantizer.grid().astype(jnp.float16), mean_count=1.0)
    np.testing.assert_array_equal(quantizer.codebook(variables), quantizer.grid())


@pytest.mark.parametrize("levels", [(8, 1), ()])
def test_invalid_levels_are_rejected(levels: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=f"at least 2, got {re.escape(str(levels))}"):
        FsqConfig(levels=levels)
