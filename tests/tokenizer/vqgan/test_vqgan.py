from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.support.vqgan.tiny_vqgan import TINY, tiny_params
from tokenizer.config import Compute, lwm_256, small_128
from tokenizer.vqgan.vqgan import abstract, init_params, parameter_count, to_bytes, to_unit

pytestmark = pytest.mark.slow


def noise(*shape: int, seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


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
def test_frames_of_any_multiple_of_the_factor_are_decoded_at_their_size(height: int, width: int) -> None:
    graphdef, params = abstract(TINY)
    frames = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    latents = jax.eval_shape(lambda p, x: nnx.merge(graphdef, p).latents(x), params, frames)
    assert latents.shape == (1, *TINY.grid(height, width), 8)
    assert jax.eval_shape(lambda p, z: nnx.merge(graphdef, p).pixels(z), params, latents).shape == frames.shape


def test_bfloat16_models_compute_in_bfloat16_and_return_float32() -> None:
    params = tiny_params()

    @partial(jax.jit, static_argnums=0)
    def run(compute: Compute, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        model = nnx.merge(abstract(TINY, compute)[0], params)
        return model.encoder(x), model.latents(x), model.pixels(model.latents(x))

    exact, approximate = run("float32", noise(1, 16, 16, 3)), run("bfloat16", noise(1, 16, 16, 3))
    assert [a.dtype for a in approximate] == [jnp.bfloat16, jnp.float32, jnp.float32]
    np.testing.assert_allclose(approximate[1], exact[1], atol=0.1)
    assert not np.array_equal(approximate[1], exact[1])


def test_initial_parameters_preserve_the_variance_of_the_signal() -> None:
    params = init_params(TINY, seed=3)
    assert jax.tree.structure(params) == jax.tree.structure(abstract(TINY)[1])
    encoder = params["encoder"]
    np.testing.assert_array_equal(encoder["conv_norm_out"]["scale"][...], 1.0)
    np.testing.assert_array_equal(encoder["conv_in"]["bias"][...], 0.0)
    kernel = np.asarray(encoder["mid_block"]["resnets"][0]["conv1"]["kernel"][...])
    assert kernel.std() == pytest.approx(1 / np.sqrt(9 * 16), rel=0.05)
    other = init_params(TINY, seed=4)["encoder"]["conv_in"]["kernel"][...]
    assert not np.array_equal(encoder["conv_in"]["kernel"][...], other)


def test_to_bytes_is_the_inverse_of_to_unit_for_every_byte() -> None:
    values = jnp.arange(256, dtype=jnp.uint8)
    np.testing.assert_array_equal(to_bytes(to_unit(values)), values)
    assert (float(to_unit(values)[0]), float(to_unit(values)[255])) == (-1.0, 1.0)


def test_to_bytes_clips_and_rounds() -> None:
    pixels = jnp.asarray([-3.0, 7.0, 99.6 / 127.5 - 1.0, 99.4 / 127.5 - 1.0])
    np.testing.assert_array_equal(to_bytes(pixels), np.array([0, 255, 100, 99], np.uint8))
