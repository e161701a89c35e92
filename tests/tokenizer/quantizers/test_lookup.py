from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from tokenizer.config import Lookup
from tokenizer.quantizers.lookup import find_codes

CODEBOOK = jnp.asarray([[1.0, 0.0], [0.9, 0.9], [9.0, 0.0]])


@pytest.mark.parametrize(
    ("lookup", "code"),
    [
        ("distance", 0),  # (2, 0.1) is nearest to (1, 0)
        ("product", 2),  # the longest code has the largest inner product
        ("bounded", 0),  # its tanh, (0.96, 0.10), is nearest to (1, 0)
    ],
)
def test_each_rule_selects_its_code(lookup: Lookup, code: int) -> None:
    found = find_codes(jnp.asarray([[2.0, 0.1]]), CODEBOOK, lookup=lookup)
    assert (found.dtype, found.tolist()) == (jnp.int32, [code])


def test_the_bounded_rule_compares_with_the_tanh_of_the_latent() -> None:
    latents = jnp.asarray([[6.0, 0.0], [1.4, 1.5]])
    np.testing.assert_array_equal(find_codes(latents, CODEBOOK, lookup="bounded"), [0, 1])
    np.testing.assert_array_equal(find_codes(latents, CODEBOOK, lookup="distance"), [2, 1])


@pytest.mark.parametrize("lookup", ["distance", "product", "bounded"])
def test_the_lowest_index_wins_a_tie(lookup: Lookup) -> None:
    codebook = jnp.asarray([[0.0, 0.0], [0.5, 0.5], [0.5, 0.5]])
    np.testing.assert_array_equal(find_codes(jnp.asarray([[0.6, 0.6]]), codebook, lookup=lookup), [1])
