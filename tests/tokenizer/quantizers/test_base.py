from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.vqgan.quantizer_examples import noise
from tokenizer.quantizers import base

pytestmark = pytest.mark.slow


@settings(max_examples=15, deadline=None)
@given(
    count=st.sampled_from([1, 40]),
    codes=st.sampled_from([1, 30]),
    dim=st.sampled_from([2, 64]),
    seed=st.integers(0, 99),
)
def test_nearest_codes_equals_an_exhaustive_search_in_float64(count: int, codes: int, dim: int, seed: int) -> None:
    latents, codebook = noise(count, dim, seed=seed), noise(codes, dim, seed=seed + 1000)
    found = np.asarray(base.nearest_codes(latents, codebook))
    exact = np.square(np.asarray(latents, np.float64)[:, None] - np.asarray(codebook, np.float64)[None]).sum(-1)
    assert found.dtype == np.int32
    np.testing.assert_allclose(exact[np.arange(count), found], exact.min(1), atol=1e-5)


def test_the_lowest_index_wins_a_tie() -> None:
    codebook = jnp.asarray([[5.0, 5.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(base.nearest_codes(jnp.asarray([[1.0, 0.0], [0.5, 0.5]]), codebook), [1, 1])


def test_bfloat16_latents_are_searched_in_float32() -> None:
    codebook = jnp.asarray([[1.0], [1.001]])  # equal in bfloat16
    np.testing.assert_array_equal(base.nearest_codes(jnp.asarray([[2.0]], jnp.bfloat16), codebook), [1])


def test_perplexity_is_the_number_of_evenly_used_codes() -> None:
    assert float(base.perplexity(jnp.asarray([3, 3, 0, 3, 3]))) == pytest.approx(4.0, rel=1e-5)
    assert float(base.perplexity(jnp.asarray([0, 9, 0]))) == pytest.approx(1.0, rel=1e-5)
    assert float(base.perplexity(jnp.asarray([1, 3]))) == pytest.approx(1.7548, rel=1e-4)
