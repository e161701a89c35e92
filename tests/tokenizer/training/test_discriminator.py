from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from schemas.errors import ConfigError
from tests.support.vqgan.tokenizer_training import DISCRIMINATOR, largest
from tokenizer.training import discriminator
from tokenizer.training.discriminator import DiscriminatorConfig, LogitAverages

pytestmark = pytest.mark.slow


def test_hinge_is_zero_for_confident_logits_and_lecam_for_logits_within_the_averages() -> None:
    confident, unsure = jnp.full((4,), 2.0), jnp.zeros((4,))
    assert float(discriminator.hinge(confident, -confident)) == 0
    assert float(discriminator.hinge(unsure, unsure)) == 1
    averages = LogitAverages(jnp.float32(0.5), jnp.float32(-0.5))
    assert float(discriminator.lecam(unsure - 0.5, unsure + 0.5, averages)) == 0
    assert float(discriminator.lecam(unsure, unsure - 0.5, averages)) == pytest.approx(0.25 + 1.0)


def test_the_loss_has_a_gradient_for_the_parameters_only_and_updates_the_averages() -> None:
    graphdef, _ = discriminator.abstract(DISCRIMINATOR)
    params = discriminator.init_params(DISCRIMINATOR, 0)
    real, reconstructed = jax.random.normal(jax.random.key(0), (2, 2, 8, 8, 3))
    averages = LogitAverages(jnp.float32(1.0), jnp.float32(-1.0))

    @jax.jit
    def gradients(*arguments: Any) -> Any:
        loss = jax.grad(discriminator.discriminator_loss, argnums=(0, 2, 3, 4), has_aux=True)
        return loss(arguments[0], graphdef, *arguments[1:], DISCRIMINATOR)

    (params_gradient, *others), (updated, metrics) = gradients(params, real, reconstructed, averages)
    assert largest(params_gradient) > 0
    assert largest(others) == 0  # the images, and through them the generator; the averages
    np.testing.assert_allclose(updated.real, 0.999 + 0.001 * metrics["real_logit"], rtol=1e-6)
    np.testing.assert_allclose(updated.reconstructed, -0.999 + 0.001 * metrics["reconstructed_logit"], rtol=1e-6)


def test_initial_parameters_are_a_function_of_the_seed() -> None:
    one, same, other = (discriminator.init_params(DISCRIMINATOR, seed) for seed in (1, 1, 2))
    kernels = [params["conv_out"]["kernel"][...] for params in (one, same, other)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])
    assert float(np.std(one["convs"][1]["kernel"][...])) == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"filters": 12}, "filters must be a multiple of 8, got 12"),
        ({"layers": 0}, "layers must be at least 1, got 0"),
        ({"lecam_decay": 1.0}, r"lecam_decay must be in \[0, 1\), got 1.0"),
        ({"weight": -1.0}, "weight must not be negative, got -1.0"),
    ],
)
def test_an_invalid_option_is_rejected(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DiscriminatorConfig(**change)
