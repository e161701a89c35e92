from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizer.vqgan.test_convolution import operands, plain
from tokenizer.vqgan import winograd
from tokenizer.vqgan.winograd import convolve

pytestmark = pytest.mark.slow


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
