from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tokenizer.vqgan.layers import Attention, Downsample, GroupNorm, ResnetBlock, Upsample, average_pool

pytestmark = pytest.mark.slow


def noise(*shape: int, seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def randomized(norm: GroupNorm | nnx.GroupNorm) -> None:
    norm.scale[...] = noise(*norm.scale.shape, seed=1)
    norm.bias[...] = noise(*norm.bias.shape, seed=2)


def test_group_norm_equals_that_of_flax() -> None:
    ours, theirs = GroupNorm(16, groups=4), nnx.GroupNorm(16, num_groups=4, epsilon=1e-6, rngs=nnx.Rngs(0))
    randomized(ours)
    randomized(theirs)
    x = noise(3, 6, 10, 16) * 3 + 5
    np.testing.assert_allclose(ours(x), theirs(x), atol=2e-5)


def test_group_norm_is_accurate_for_a_mean_far_from_zero() -> None:
    x = noise(1, 8, 8, 8) + 1000
    y = np.asarray(GroupNorm(8, groups=1)(x), np.float64)
    x64 = np.asarray(x, np.float64)
    np.testing.assert_allclose(y, (x64 - x64.mean()) / x64.std(), atol=1e-3)


def test_downsample_pads_bottom_and_right() -> None:
    down = Downsample(1, dtype=jnp.float32, rngs=nnx.Rngs(0))
    kernel = np.arange(9, dtype=np.float32).reshape(3, 3)
    down.conv.kernel[...] = jnp.asarray(kernel)[:, :, None, None]
    x = np.asarray(noise(1, 4, 4, 1))
    y = np.asarray(down(jnp.asarray(x)))[0, :, :, 0]
    padded = np.pad(x[0, :, :, 0], ((0, 1), (0, 1)))
    expected = [[(padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3] * kernel).sum() for j in range(2)] for i in range(2)]
    np.testing.assert_allclose(y, expected, rtol=1e-5)


def test_upsample_repeats_each_pixel_and_then_convolves() -> None:
    up = Upsample(2, dtype=jnp.float32, rngs=nnx.Rngs(0))
    x = noise(1, 3, 5, 2)
    np.testing.assert_array_equal(up(x), up.conv(jnp.asarray(np.asarray(x).repeat(2, 1).repeat(2, 2))))


def test_a_residual_block_has_a_shortcut_convolution_only_if_the_channels_change() -> None:
    same, other = (ResnetBlock(8, n, groups=4, dtype=jnp.float32, rngs=nnx.Rngs(0)) for n in (8, 16))
    assert not hasattr(same, "conv_shortcut")
    assert other.conv_shortcut.kernel.shape == (1, 1, 8, 16)
    x = noise(1, 4, 4, 8)
    for block, shortcut in ((same, x), (other, other.conv_shortcut(x))):
        block.conv2.kernel[...] = jnp.zeros_like(block.conv2.kernel[...])
        np.testing.assert_allclose(block(x), shortcut, atol=1e-6)


def test_the_output_shortcut_applies_the_convolution_to_the_output_of_the_block() -> None:
    block = ResnetBlock(8, 16, groups=4, shortcut="output", dtype=jnp.float32, rngs=nnx.Rngs(0))
    assert block.conv_shortcut.kernel.shape == (1, 1, 16, 16)
    x = noise(1, 4, 4, 8)
    h = block.conv2(nnx.silu(block.norm2(block.conv1(nnx.silu(block.norm1(x))))))
    np.testing.assert_allclose(block(x), h + block.conv_shortcut(h), atol=1e-5)


def test_attention_equals_a_softmax_in_float64() -> None:
    layer = Attention(8, groups=4, dtype=jnp.float32, rngs=nnx.Rngs(0))
    x = noise(1, 3, 2, 8)
    flat = np.asarray(layer.group_norm(x), np.float64).reshape(6, 8)

    def linear(part: nnx.Linear, values: np.ndarray) -> np.ndarray:
        return values @ np.asarray(part.kernel[...], np.float64) + np.asarray(part.bias[...], np.float64)

    q, k, v = (linear(part, flat) for part in (layer.to_q, layer.to_k, layer.to_v))
    weights = np.exp(q @ k.T / np.sqrt(8))
    expected = linear(layer.to_out[0], weights / weights.sum(1, keepdims=True) @ v)
    np.testing.assert_allclose(layer(x), np.asarray(x) + expected.reshape(1, 3, 2, 8), atol=1e-5)


def test_average_pool_is_the_mean_of_each_2x2() -> None:
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(average_pool(x)[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]])
