from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest

from trainer.model.loss import LossSums
from trainer.run.evaluate import evaluate, losses, spread


def test_limited_evaluation_uses_sequences_spread_over_the_split() -> None:
    assert spread(10, 4).tolist() == [0, 2, 5, 7]
    assert spread(3, 8).tolist() == spread(3, None).tolist() == [0, 1, 2]


def test_losses_are_means_over_weights_and_nan_without_targets() -> None:
    mean = losses(np.array([[6.0, 0.0], [3.0, 0.0]]))
    assert mean["loss"] == mean["text_loss"] == 2.0
    assert math.isnan(mean["vision_loss"])


def test_batches_are_weighted_by_their_targets() -> None:
    sums = [
        LossSums(jnp.float32(c), jnp.float32(w), jnp.array([c, 0.0]), jnp.array([w, 0.0])) for c, w in ((1, 1), (9, 3))
    ]
    values = evaluate(lambda _, batch: sums[batch["number"]], None, [{"number": 0}, {"number": 1}])
    assert values["loss"] == pytest.approx(10 / 4)
