from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizer.quantizers import base as quantize


def noise(*shape: int, seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


@settings(max_examples=15, deadline=None)
@given(
    count=st.sampled_from([1, 40]),
    codes=st.sampled_from([1, 30]),
    dim=st.sampled_from([2, 64]),
    seed=st.integers(0, 99),
)
def test_the_nearest_code_is_the_one_that_a_slow_search_finds(count: int, codes: int, dim: int, seed: int) -> None:
    latents, codebook = noise(count, dim, seed=seed), noise(codes, dim, seed=seed + 1000)
    found = np.asarray(quantize.nearest_codes(latents, codebook))
    exact = np.square(np.asarray(latents, np.float64)[:, None] - np.asarray(codebook, np.float64)[None]).sum(-1)
    assert found.dtype == np.int32
    np.testing.assert_allclose(exact[np.arange(count), found], exact.min(1), atol=1e-5)


def test_a_tie_goes_to_the_lowest_index() -> None:
    codebook = jnp.asarray([[5.0, 5.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(quantize.nearest_codes(jnp.asarray([[1.0, 0.0], [0.5, 0.5]]), codebook), [1, 1])


def test_bfloat16_latents_are_searched_in_float32() -> None:
    codebook = jnp.asarray([[1.0], [1.001]])  # one and the same number in bfloat16
    np.testing.assert_array_equal(quantize.nearest_codes(jnp.asarray([[2.0]], jnp.bfloat16), codebook), [1])


def test_perplexity_is_the_number_of_evenly_used_codes() -> None:
    assert float(quantize.perplexity(jnp.asarray([3, 3, 0, 3, 3]))) == pytest.approx(4.0, rel=1e-5)
    assert float(quantize.perplexity(jnp.asarray([0, 9, 0]))) == pytest.approx(1.0, rel=1e-5)
    assert float(quantize.perplexity(jnp.asarray([1, 3]))) == pytest.approx(1.7548, rel=1e-4)
