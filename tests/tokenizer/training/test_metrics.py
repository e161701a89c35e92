from __future__ import annotations

import jax.numpy as jnp
import pytest

from tokenizer.training.metrics import MetricsWindow


def test_a_row_averages_the_steps_since_the_previous_row() -> None:
    window = MetricsWindow()
    window.add({"loss": jnp.float32(1.0), "code_counts": jnp.asarray([4, 0, 0, 0])})
    window.add({"loss": jnp.float32(3.0), "hinge": jnp.float32(0.5), "code_counts": jnp.asarray([0, 4, 0, 0])})
    row = window.average(batch=8)
    assert row["loss"] == 2.0
    assert row["hinge"] == 0.5  # averaged over the steps that have it
    assert row["codebook_utilization"] == 0.5  # of both steps together
    assert row["perplexity"] == pytest.approx(2.0, rel=1e-5)
    assert row["frames_per_s"] > 0
    window.add({"loss": jnp.float32(7.0), "code_counts": jnp.asarray([1, 1, 1, 1])})
    row = window.average(batch=8)
    assert (row["loss"], row["codebook_utilization"], "hinge" in row) == (7.0, 1.0, False)
