from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import ConfigError
from trainer.layout import LAYOUTS, Layout, inverse, permutation, stripe_width

shapes = st.tuples(st.sampled_from(LAYOUTS), st.integers(1, 9), st.integers(1, 7), st.integers(1, 5))


def _order(shape: tuple[Layout, int, int, int]) -> tuple[np.ndarray, int, int]:
    layout, devices, stripe, turns = shape
    length = devices * stripe * turns
    return permutation(layout, length=length, devices=devices, stripe=stripe), devices, stripe


@given(shapes)
@settings(deadline=None, max_examples=80)
def test_a_layout_moves_every_token_to_one_place(shape: tuple[Layout, int, int, int]) -> None:
    order, _, _ = _order(shape)
    assert np.array_equal(np.sort(order), np.arange(len(order)))


@given(shapes)
@settings(deadline=None, max_examples=80)
def test_the_inverse_brings_the_original_back(shape: tuple[Layout, int, int, int]) -> None:
    order, _, _ = _order(shape)
    original = np.arange(len(order)) * 7
    assert np.array_equal(original[order][inverse(order)], original)


@given(shapes)
@settings(deadline=None, max_examples=80)
def test_a_device_holds_every_nth_stripe_in_reading_order(shape: tuple[Layout, int, int, int]) -> None:
    order, devices, stripe = _order(("block_cyclic", *shape[1:]))
    for device, held in enumerate(order.reshape(devices, -1)):
        assert np.all(np.diff(held) > 0)
        assert set((held // stripe) % devices) == {device}


@given(shapes)
@settings(deadline=None, max_examples=80)
def test_contiguous_leaves_the_order_as_it_is(shape: tuple[Layout, int, int, int]) -> None:
    order, _, _ = _order(("contiguous", *shape[1:]))
    assert np.array_equal(order, np.arange(len(order)))


def test_block_cyclic_gives_every_device_the_same_share_of_causal_work_within_one_stripe() -> None:
    work = np.arange(4096)  # a token's attention costs as much as it has tokens before it
    shares = work[permutation("block_cyclic", length=4096, devices=8, stripe=64)].reshape(8, -1).sum(1)
    contiguous = work[permutation("contiguous", length=4096, devices=8, stripe=64)].reshape(8, -1).sum(1)
    assert shares.max() / shares.min() < 1.3
    assert contiguous.max() / contiguous.min() > 10


def test_a_context_that_cannot_be_dealt_out_names_what_would_fit() -> None:
    with pytest.raises(ConfigError, match="multiple of 512"):
        permutation("block_cyclic", length=1000, devices=8, stripe=64)
    with pytest.raises(ConfigError, match="1001 tokens cannot be split over 8"):
        permutation("contiguous", length=1001, devices=8, stripe=64)


def test_an_unknown_layout_is_named() -> None:
    with pytest.raises(ConfigError, match="'zigzag'"):
        permutation("zigzag", length=8, devices=2, stripe=2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("length", "tile", "width"), [(4096, 256, 256), (128, 256, 16), (8 * 48, 32, 24), (8 * 7, 4, 1)]
)
def test_a_stripe_fits_the_tile_and_deals_a_share_out_evenly(length: int, tile: int, width: int) -> None:
    assert stripe_width(length=length, devices=8, tile=tile) == width
    permutation("block_cyclic", length=length, devices=8, stripe=width)
