from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from schemas.errors import ConfigError
from tests.support.vqgan.vgg import narrow_vgg
from tokenizer.training import perceptual

pytestmark = pytest.mark.slow


def test_shapes_are_those_of_vgg_16() -> None:
    shapes = perceptual.shapes()
    assert len(shapes) == 2 * 13
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 14_714_688
    assert shapes["block3_conv1.kernel"] == (3, 3, 128, 256)


def test_the_distance_is_zero_for_equal_images_and_grows_with_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    vgg = narrow_vgg(monkeypatch)
    x = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (2, 16, 16, 3)), jnp.float32)
    noise = jnp.asarray(np.random.default_rng(2).standard_normal((2, 16, 16, 3)), jnp.float32)

    @jax.jit
    def at(amount: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        value, (left, right) = jax.value_and_grad(perceptual.distance, (1, 2))(vgg, x + amount * noise, x)
        return value, jnp.abs(left).max(), jnp.abs(right).max()

    values, left, right = zip(*(map(float, at(jnp.float32(amount))) for amount in (0.0, 0.05, 0.2, 0.8)), strict=True)
    assert values[0] == 0
    assert values[0] < values[1] < values[2] < values[3] < 4
    assert left[1] > 0
    assert max(right) == 0  # the original has no gradient


def test_an_incomplete_weights_file_is_rejected_with_the_missing_tensor(tmp_path: Path) -> None:
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
