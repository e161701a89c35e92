from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from schemas.errors import ConfigError
from tokenizer.training import losses
from tokenizer.training.losses import LossConfig


@pytest.mark.slow
def test_losses_are_zero_for_equal_images_and_measure_their_kind_of_error() -> None:
    x = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (1, 16, 16, 3)), jnp.float32)
    checkerboard = jnp.asarray(np.indices((16, 16)).sum(0) % 2 * 0.2 - 0.1, jnp.float32)[None, :, :, None]
    checkerboard = jnp.broadcast_to(checkerboard, x.shape)
    assert [float(f(x, x)) for f in (losses.l1, losses.coarse, losses.edges)] == [0.0, 0.0, 0.0]
    np.testing.assert_allclose([float(losses.l1(x + 0.1, x)), float(losses.coarse(x + 0.1, x))], 0.1, rtol=1e-4)
    assert float(losses.edges(x + 0.1, x)) == pytest.approx(0.0, abs=1e-5)  # a constant offset has no edges
    assert float(losses.coarse(x + checkerboard, x)) == pytest.approx(0.0, abs=1e-6)  # fine texture has a mean of zero
    assert float(losses.edges(x + checkerboard, x)) == pytest.approx(0.4, rel=1e-3)  # 0.2 horizontally, 0.2 vertically


def test_a_negative_loss_weight_is_rejected() -> None:
    with pytest.raises(ConfigError, match="edges must not be negative, got -1"):
        LossConfig(edges=-1.0)
