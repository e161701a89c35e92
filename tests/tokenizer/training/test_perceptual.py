from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from schemas.errors import ConfigError
from tokenizer.training import perceptual
from tokenizer.training.perceptual import Vgg

jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # compiles faster


@lru_cache
def vgg() -> Vgg:
    """A VGG-16 with random weights of the right size."""
    rng = np.random.default_rng(0)
    with jax.ensure_compile_time_eval():  # kept: it may be asked for first within a traced function
        return {
            name: jnp.asarray(rng.standard_normal(shape, np.float32) * np.sqrt(2 / max(np.prod(shape[:-1]), 1)))
            if len(shape) == 4
            else jnp.zeros(shape)
            for name, shape in perceptual.shapes().items()
        }


def test_the_distance_is_zero_for_equal_pictures_and_grows_as_one_gets_worse() -> None:
    x = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (2, 16, 16, 3)), jnp.float32)
    noise = jnp.asarray(np.random.default_rng(2).standard_normal((2, 16, 16, 3)), jnp.float32)

    @jit
    def at(amount: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        value, (left, right) = jax.value_and_grad(perceptual.distance, (1, 2))(vgg(), x + amount * noise, x)
        return value, jnp.abs(left).max(), jnp.abs(right).max()

    values, left, right = zip(*(map(float, at(jnp.float32(amount))) for amount in (0.0, 0.05, 0.2, 0.8)), strict=True)
    assert values[0] == 0
    assert values[0] < values[1] < values[2] < values[3] < 4
    assert left[1] > 0
    assert max(right) == 0  # the original is what it is


def test_a_file_without_the_whole_vgg_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="longreel perceptual --out"):
        perceptual.load(tmp_path / "no.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(ConfigError, match="not a complete safetensors file"):
        perceptual.load(tmp_path / "junk.safetensors")
    safetensors.numpy.save_file(
        {"block1_conv1.kernel": np.zeros((3, 3, 3, 64), np.float32)}, tmp_path / "a.safetensors"
    )
    with pytest.raises(ConfigError, match=r"expected block1_conv1.bias to be \[64\] and finite, got missing"):
        perceptual.load(tmp_path / "a.safetensors")
