from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from schemas.errors import ConfigError
from tests.support.vqgan.tiny_vqgan import TINY, tiny_params
from tokenizer.config import Compute, lwm_256, named, small_128
from tokenizer.vqgan.layers import Downsample, GroupNorm, ResnetBlock, Upsample
from tokenizer.vqgan.vqgan import abstract, init_params, parameter_count, to_bytes, to_unit

pytestmark = pytest.mark.slow


def noise(*shape: int, seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def randomized(norm: GroupNorm | nnx.GroupNorm) -> None:
    norm.scale[...] = noise(*norm.scale.shape, seed=1)
    norm.bias[...] = noise(*norm.bias.shape, seed=2)


def test_lwm_256_has_the_published_parameters_and_tensors() -> None:
    assert parameter_count(lwm_256()) == (146_244_675, 277)


def test_lwm_256_maps_a_256_pixel_frame_to_16_by_16_codes_of_8192() -> None:
    config = lwm_256()
    graphdef, params = abstract(config)
    frames = jax.ShapeDtypeStruct((2, 256, 256, 3), jnp.float32)
    latents = jax.eval_shape(lambda p, x: nnx.merge(graphdef, p).latents(x), params, frames)
    pixels = jax.eval_shape(lambda p, z: nnx.merge(graphdef, p).pixels(z), params, latents)
    assert (latents.shape, pixels.shape) == ((2, 16, 16, 64), (2, 256, 256, 3))
    assert (config.grid(256, 256), config.codebook_size) == ((16, 16), 8192)


def test_small_128_maps_a_128_pixel_frame_to_64_codes_with_few_parameters() -> None:
    config = small_128()
    assert config.grid(128, 128) == (8, 8)
    assert parameter_count(config)[0] < 4_000_000


@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 24), (2, 6)])
def test_any_size_that_the_factor_divides_comes_back_in_its_own_size(height: int, width: int) -> None:
    graphdef, params = abstract(TINY)
    frames = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    latents = jax.eval_shape(lambda p, x: nnx.merge(graphdef, p).latents(x), params, frames)
    assert latents.shape == (1, *TINY.grid(height, width), 8)
    assert jax.eval_shape(lambda p, z: nnx.merge(graphdef, p).pixels(z), params, latents).shape == frames.shape


def test_bfloat16_computes_in_bfloat16_and_answers_in_float32() -> None:
    params = tiny_params()

    @partial(jax.jit, static_argnums=0)
    def run(compute: Compute, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        model = nnx.merge(abstract(TINY, compute)[0], params)
        return model.encoder(x), model.latents(x), model.pixels(model.latents(x))

    exact, rough = run("float32", noise(1, 16, 16, 3)), run("bfloat16", noise(1, 16, 16, 3))
    assert [a.dtype for a in rough] == [jnp.bfloat16, jnp.float32, jnp.float32]
    np.testing.assert_allclose(rough[1], exact[1], atol=0.1)
    assert not np.array_equal(rough[1], exact[1])


def test_group_norm_equals_that_of_flax() -> None:
    ours, theirs = GroupNorm(16, groups=4), nnx.GroupNorm(16, num_groups=4, epsilon=1e-6, rngs=nnx.Rngs(0))
    randomized(ours)
    randomized(theirs)
    x = noise(3, 6, 10, 16) * 3 + 5
    np.testing.assert_allclose(ours(x), theirs(x), atol=2e-5)


def test_group_norm_keeps_its_precision_far_from_zero() -> None:
    x = noise(1, 8, 8, 8) + 1000
    y = np.asarray(GroupNorm(8, groups=1)(x), np.float64)
    x64 = np.asarray(x, np.float64)
    np.testing.assert_allclose(y, (x64 - x64.mean()) / x64.std(), atol=1e-3)


def test_downsampling_pads_bottom_and_right() -> None:
    down = Downsample(1, dtype=jnp.float32, rngs=nnx.Rngs(0))
    kernel = np.arange(9, dtype=np.float32).reshape(3, 3)
    down.conv.kernel[...] = jnp.asarray(kernel)[:, :, None, None]
    x = np.asarray(noise(1, 4, 4, 1))
    y = np.asarray(down(jnp.asarray(x)))[0, :, :, 0]
    padded = np.pad(x[0, :, :, 0], ((0, 1), (0, 1)))
    expected = [[(padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3] * kernel).sum() for j in range(2)] for i in range(2)]
    np.testing.assert_allclose(y, expected, rtol=1e-5)


def test_upsampling_repeats_each_pixel_then_convolves() -> None:
    up = Upsample(2, dtype=jnp.float32, rngs=nnx.Rngs(0))
    x = noise(1, 3, 5, 2)
    np.testing.assert_array_equal(up(x), up.conv(jnp.asarray(np.asarray(x).repeat(2, 1).repeat(2, 2))))


def test_a_residual_block_has_a_shortcut_only_where_channels_change() -> None:
    same, other = (ResnetBlock(8, n, groups=4, dtype=jnp.float32, rngs=nnx.Rngs(0)) for n in (8, 16))
    assert not hasattr(same, "conv_shortcut")
    assert other.conv_shortcut.kernel.shape == (1, 1, 8, 16)
    x = noise(1, 4, 4, 8)
    for block, shortcut in ((same, x), (other, other.conv_shortcut(x))):
        block.conv2.kernel[...] = jnp.zeros_like(block.conv2.kernel[...])
        np.testing.assert_allclose(block(x), shortcut, atol=1e-6)


def test_a_fresh_model_has_unit_scales_and_keeps_the_size_of_its_signal() -> None:
    params = init_params(TINY, seed=3)
    assert jax.tree.structure(params) == jax.tree.structure(abstract(TINY)[1])
    encoder = params["encoder"]
    np.testing.assert_array_equal(encoder["conv_norm_out"]["scale"][...], 1.0)
    np.testing.assert_array_equal(encoder["conv_in"]["bias"][...], 0.0)
    kernel = np.asarray(encoder["mid_block"]["resnets"][0]["conv1"]["kernel"][...])
    assert kernel.std() == pytest.approx(1 / np.sqrt(9 * 16), rel=0.05)
    other = init_params(TINY, seed=4)["encoder"]["conv_in"]["kernel"][...]
    assert not np.array_equal(encoder["conv_in"]["kernel"][...], other)


def test_every_byte_survives_the_way_to_floats_and_back() -> None:
    every = jnp.arange(256, dtype=jnp.uint8)
    np.testing.assert_array_equal(to_bytes(to_unit(every)), every)
    assert (float(to_unit(every)[0]), float(to_unit(every)[255])) == (-1.0, 1.0)


def test_floats_beyond_the_range_are_clipped_and_the_rest_is_rounded() -> None:
    pixels = jnp.asarray([-3.0, 7.0, 99.6 / 127.5 - 1.0, 99.4 / 127.5 - 1.0])
    np.testing.assert_array_equal(to_bytes(pixels), np.array([0, 255, 100, 99], np.uint8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": 3}, "channels must be multiples of groups=3"),
        ({"channels": ()}, "channels"),
        ({"blocks": 0}, "blocks must be at least 1, got 0"),
        ({"frame_size": 17}, "multiple of 2 for 'tiny', got 17"),
    ],
)
def test_a_config_that_cannot_be_right_names_the_field_and_the_value(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(TINY, **change)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"lwm-256, small-128, got 'large'"):
        named("large")
