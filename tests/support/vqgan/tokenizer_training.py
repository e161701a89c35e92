"""A tokenizer training run of one second: options, frames, batches and states.

The model is `tests.support.vqgan.tiny_vqgan.DOT`; the tests register it under the name `dot`.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from tests.support.vqgan.tiny_vqgan import DOT, tiny_weights
from tokenizer.training import discriminator
from tokenizer.training.config import TokenizerTrainConfig
from tokenizer.training.crops import CropConfig, crops, fingerprint
from tokenizer.training.discriminator import DiscriminatorConfig
from tokenizer.training.snapshots import Snapshots, describe
from tokenizer.training.step import TrainState, make_mesh, replicated, state_from_weights

DISCRIMINATOR = DiscriminatorConfig(start=16, filters=8, layers=1)


def config(**changed: object) -> TokenizerTrainConfig:
    """Return options of 24 steps; the discriminator starts at step 16."""
    defaults = {
        "architecture": "dot",
        "steps": 24,
        "batch": 8,
        "crop": CropConfig(size=8),
        "warmup_steps": 2,
        "devices": 1,
    }
    defaults |= {"save_every": 10, "learning_rate": 1e-2, "discriminator": DISCRIMINATOR}
    return TokenizerTrainConfig(**{**defaults, **changed})  # type: ignore[arg-type]


def frames() -> NDArray[np.uint8]:
    """Return 12 frames of smooth colored waves, 20 x 24 pixels."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:20, :24]
    wave = [np.sin(x * rng.uniform(0.1, 0.4) + y * rng.uniform(0.1, 0.4) + t) for t in range(36)]
    return (127 + 120 * np.stack(wave).reshape(12, 3, 20, 24).transpose(0, 2, 3, 1)).astype(np.uint8)


def batch(run: TokenizerTrainConfig) -> NDArray[np.uint8]:
    """Return the batch of step 0."""
    return crops(frames(), batch=run.batch, config=run.crop, seed=0, step=0)


def placed(images: NDArray[np.uint8], mesh: Mesh) -> jax.Array:
    """Return a batch that is sharded over the devices of a mesh."""
    return jax.device_put(images, NamedSharding(mesh, PartitionSpec("data")))


def initial_state(run: TokenizerTrainConfig, seed: int = 0) -> TrainState:
    """Return a state that a step can donate; `seed` is the seed of the discriminator."""
    state = _state(run)
    critic = state.discriminator
    assert critic is not None
    state = state._replace(discriminator=critic._replace(params=discriminator.init_params(run.discriminator, seed)))
    # The placement of the training loop; another one would compile the step again.
    return jax.device_put(state, replicated(make_mesh(1)), may_alias=False)


@lru_cache
def _state(run: TokenizerTrainConfig) -> TrainState:
    return state_from_weights(run, tiny_weights(DOT))


def restored_state(out: Path, step: int, run: TokenizerTrainConfig) -> TrainState:
    """Return the state in the snapshot of a step, with its random key as integers."""
    with Snapshots(out) as snapshots:
        state = snapshots.restore(step, run, describe(run, frames=fingerprint(frames())), make_mesh(1))
    return state._replace(key=jax.random.key_data(state.key))


def assert_equal(a: object, b: object) -> None:
    """Assert that two trees are equal bit by bit."""
    jax.tree.map(np.testing.assert_array_equal, a, b)


def largest(tree: Any) -> float:
    """Return the largest absolute value in a tree."""
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))
