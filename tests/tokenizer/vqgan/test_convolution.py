from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from tokenizer.vqgan import convolution as convolutions
from tokenizer.vqgan import layers
from tokenizer.vqgan.convolution import convolution, convolve_folded, with_direct_gradients
from tokenizer.vqgan.winograd import convolve

pytestmark = pytest.mark.slow

NHWC = ("NHWC", "HWIO", "NHWC")
plain = jax.jit(partial(lax.conv_general_dilated, window_strides=(1, 1), padding="SAME", dimension_numbers=NHWC))


def operands(batch: int, height: int, width: int, channels: int, outputs: int) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng([batch, height, width, channels, outputs])
    x = rng.standard_normal((batch, height, width, channels), np.float32)
    kernel = rng.standard_normal((3, 3, channels, outputs), np.float32) / np.float32(np.sqrt(9 * channels))
    return jnp.asarray(x), jnp.asarray(kernel)


@pytest.mark.parametrize("block", [(1, 1), (1, 2), (2, 1), (2, 2), (4, 3)])
def test_a_convolution_of_blocks_of_pixels_equals_the_direct_one(block: tuple[int, int]) -> None:
    x, kernel = operands(2, 8, 12, 3, 5)
    found = jax.jit(partial(convolve_folded, block=block))(x, kernel)
    np.testing.assert_allclose(found, plain(x, kernel), atol=1e-5)


@pytest.mark.parametrize("algorithm", [convolve, partial(convolve_folded, block=(2, 2))])
def test_the_gradients_equal_those_of_the_direct_convolution(algorithm: convolutions.Algorithm) -> None:
    x, kernel = operands(2, 8, 12, 3, 5)

    def loss(function: convolutions.Algorithm, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return (jnp.sin(function(x, kernel))).sum()

    ways = with_direct_gradients(algorithm), plain
    found, expected = (jax.jit(jax.grad(partial(loss, f), argnums=(0, 1)))(x, kernel) for f in ways)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def used(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], kernel: tuple[int, ...], **options: object) -> object:
    """Return the algorithm of a convolution of these shapes ("winograd", or a block), without computing it."""
    calls: list[object] = []
    monkeypatch.setattr(convolutions, "convolve", lambda x, k: calls.append("winograd") or x)
    monkeypatch.setattr(convolutions, "convolve_folded", lambda x, k, block: calls.append(block) or x)
    dtype = options.pop("dtype", jnp.float32)
    given = {"strides": (1, 1), "padding": "SAME", "dimension_numbers": NHWC, **options}
    jax.eval_shape(partial(convolution, **given), *(jax.ShapeDtypeStruct(s, dtype) for s in (shape, kernel)))  # type: ignore[arg-type]
    return calls[0] if calls else None


def test_the_algorithm_follows_from_the_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    is_cpu, algorithm = jax.default_backend() == "cpu", partial(used, monkeypatch)
    assert algorithm((2, 128, 128, 128), (3, 3, 128, 256)) == ("winograd" if is_cpu else None)
    assert algorithm((2, 32, 32, 128), (3, 3, 128, 256)) is None  # too small
    assert algorithm((2, 256, 256, 64), (3, 3, 64, 128)) is None  # too few channels
    assert algorithm((2, 256, 256, 128), (1, 1, 128, 128)) is None
    assert algorithm((2, 130, 128, 128), (3, 3, 128, 128)) is None  # not a multiple of the tile size
    assert algorithm((2, 256, 256, 128), (3, 3, 128, 128), strides=(2, 2), padding="VALID") is None
    assert algorithm((2, 256, 256, 128), (3, 3, 128, 128), rhs_dilation=(2, 2)) is None
    assert algorithm((2, 256, 256, 128), (3, 3, 128, 128), dtype=jnp.bfloat16) is None
    assert algorithm((2, 64, 64, 16), (3, 3, 16, 16)) == ((1, 2) if is_cpu else None)
    assert algorithm((2, 64, 64, 3), (3, 3, 3, 16)) == ((2, 2) if is_cpu else None)
    assert algorithm((2, 64, 64, 16), (3, 3, 16, 3)) == ((2, 4) if is_cpu else None)
    assert algorithm((2, 64, 63, 16), (3, 3, 16, 16)) is None  # not a multiple of the block
    assert algorithm((2, 64, 64, 16), (3, 3, 16, 32)) is None
    assert algorithm((2, 64, 64, 16), (3, 3, 16, 16), dtype=jnp.bfloat16) is None


def test_a_layer_that_uses_winograd_gives_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolutions, "_MIN_CHANNELS", 4)
    monkeypatch.setattr(convolutions, "_MIN_PIXELS", 64)
    layer = layers.conv(4, 8, dtype=jnp.float32, rngs=nnx.Rngs(0))
    x, _ = operands(2, 8, 8, 4, 8)
    expected = plain(x, layer.kernel[...]) + layer.bias[...][None, None, None]
    np.testing.assert_allclose(nnx.jit(layer)(x), expected, atol=2e-5)
