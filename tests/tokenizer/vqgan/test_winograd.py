from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from tokenizer.vqgan import layers, winograd
from tokenizer.vqgan.winograd import convolution, convolve

pytestmark = pytest.mark.slow

NHWC = ("NHWC", "HWIO", "NHWC")
plain = jax.jit(partial(lax.conv_general_dilated, window_strides=(1, 1), padding="SAME", dimension_numbers=NHWC))


def operands(batch: int, height: int, width: int, channels: int, outputs: int) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng([batch, height, width, channels, outputs])
    x = rng.standard_normal((batch, height, width, channels), np.float32)
    kernel = rng.standard_normal((3, 3, channels, outputs), np.float32) / np.float32(np.sqrt(9 * channels))
    return jnp.asarray(x), jnp.asarray(kernel)


@pytest.mark.parametrize(
    ("batch", "rows", "columns", "channels", "outputs", "cached"),
    [
        (1, 1, 1, 1, 1, 1 << 20),  # one tile
        (2, 4, 3, 3, 4, 1),  # one row of tiles per band
        (2, 4, 3, 3, 4, 2_600),  # two rows per band
        (2, 4, 3, 3, 4, 1 << 20),  # all rows in one band
        (1, 3, 2, 2, 3, 1_200),  # a number of rows that two does not divide
    ],
)
def test_it_equals_the_direct_convolution_for_any_number_of_rows_per_band(
    batch: int, rows: int, columns: int, channels: int, outputs: int, cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, kernel = operands(batch, 4 * rows, 4 * columns, channels, outputs)
    monkeypatch.setattr(winograd, "_CACHED_BYTES", cached)
    found = jax.jit(lambda x, kernel: convolve(x, kernel))(x, kernel)
    np.testing.assert_allclose(found, plain(x, kernel), atol=2e-5)


@settings(deadline=None, max_examples=settings.default.max_examples // 25)  # every example is compiled
@given(*(st.integers(1, most) for most in (2, 4, 3, 3, 4)), st.sampled_from([1, 600, 1 << 20]))
def test_it_equals_the_direct_convolution_for_any_shape(
    batch: int, rows: int, columns: int, channels: int, outputs: int, cached: int
) -> None:
    x, kernel = operands(batch, 4 * rows, 4 * columns, channels, outputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "_CACHED_BYTES", cached)
        found = jax.jit(lambda x, kernel: convolve(x, kernel))(x, kernel)
    np.testing.assert_allclose(found, plain(x, kernel), atol=2e-5)


def test_its_gradients_equal_those_of_the_direct_convolution() -> None:
    x, kernel = operands(2, 8, 12, 3, 5)

    def loss(function: object, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return (jnp.sin(function(x, kernel))).sum()  # type: ignore[operator]

    found, expected = (jax.jit(jax.grad(partial(loss, f), argnums=(0, 1)))(x, kernel) for f in (convolve, plain))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def is_used(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], kernel: tuple[int, ...], **options: object
) -> bool:
    """Return whether a convolution of these shapes uses Winograd's algorithm, without computing it."""
    calls: list[int] = []
    monkeypatch.setattr(winograd, "convolve", lambda x, k: calls.append(1) or x)
    dtype = options.pop("dtype", jnp.float32)
    given = {"strides": (1, 1), "padding": "SAME", "dimension_numbers": NHWC, **options}
    jax.eval_shape(partial(convolution, **given), *(jax.ShapeDtypeStruct(s, dtype) for s in (shape, kernel)))  # type: ignore[arg-type]
    return bool(calls)


def test_only_large_direct_convolutions_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    is_cpu = jax.default_backend() == "cpu"
    assert is_used(monkeypatch, (2, 128, 128, 128), (3, 3, 128, 256)) == is_cpu
    assert not is_used(monkeypatch, (2, 64, 64, 128), (3, 3, 128, 256))  # too small
    assert not is_used(monkeypatch, (2, 256, 256, 64), (3, 3, 64, 128))  # too few channels
    assert not is_used(monkeypatch, (2, 256, 256, 128), (1, 1, 128, 128))
    assert not is_used(monkeypatch, (2, 130, 128, 128), (3, 3, 128, 128))  # not a multiple of the tile size
    assert not is_used(monkeypatch, (2, 256, 256, 128), (3, 3, 128, 128), strides=(2, 2), padding="VALID")
    assert not is_used(monkeypatch, (2, 256, 256, 128), (3, 3, 128, 128), rhs_dilation=(2, 2))
    assert not is_used(monkeypatch, (2, 256, 256, 128), (3, 3, 128, 128), dtype=jnp.bfloat16)


def test_a_layer_that_uses_it_gives_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "_MIN_CHANNELS", 4)
    monkeypatch.setattr(winograd, "_MIN_PIXELS", 64)
    layer = layers.conv(4, 8, dtype=jnp.float32, rngs=nnx.Rngs(0))
    x, _ = operands(2, 8, 8, 4, 8)
    expected = plain(x, layer.kernel[...]) + layer.bias[...][None, None, None]
    np.testing.assert_allclose(nnx.jit(layer)(x), expected, atol=2e-5)
