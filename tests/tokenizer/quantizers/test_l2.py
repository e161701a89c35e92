from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from schemas.errors import ConfigError
from tests.support.vqgan.quantizer_examples import KEY, initialized
from tests.support.vqgan.tiny_vqgan import TINY
from tokenizer.quantizers.l2 import L2Config


@pytest.mark.slow
def test_codes_depend_on_the_direction_of_latents_and_not_on_their_length() -> None:
    quantizer, variables, latents = initialized("l2")
    one, other = (quantizer.quantize(variables, latents * scale, KEY) for scale in (1.0, 37.0))
    np.testing.assert_array_equal(one.codes, other.codes)
    np.testing.assert_allclose(jnp.linalg.norm(quantizer.codebook(variables), axis=-1), 1.0, rtol=1e-5)


def test_codes_have_the_smallest_angle_to_their_latents() -> None:
    quantizer, variables, latents = initialized("l2")
    x, codebook = np.asarray(latents, np.float64), np.asarray(quantizer.codebook(variables), np.float64)
    cosines = (x / np.linalg.norm(x, axis=1, keepdims=True)) @ codebook.T
    codes = np.asarray(quantizer.quantize(variables, latents, KEY).codes)
    np.testing.assert_allclose(cosines[np.arange(len(x)), codes], cosines.max(1), atol=1e-6)


def test_the_model_has_the_dimension_of_the_codes() -> None:
    model = L2Config(dim=4).configure(TINY)
    assert (model.latent_dim, model.codebook_size, model.lookup) == (4, TINY.codebook_size, "product")


@pytest.mark.parametrize(
    ("change", "message"),
    [({"dim": 0}, "dim must be at least 1, got 0"), ({"temperature": 0.0}, "temperature must be above 0, got 0")],
)
def test_an_invalid_option_is_rejected(change: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        L2Config(**change)  # type: ignore[arg-type]
