"""The structure of an all-gather's program, read from its jaxpr."""

from __future__ import annotations

import pytest

from tests.support.training.attention_programs import (
    DEVICES,
    HEAD_DIM,
    IDS,
    LENGTH,
    SHARE,
    checks_varying_axes,
    key_shape,
    largest_local_array,
    program,
    sent,
)

pytestmark = pytest.mark.slow

HEADS, KV_HEADS = 4, 2
KEYS = key_shape(KV_HEADS)


def test_each_array_takes_one_collective_and_gradients_are_reduce_scattered() -> None:
    made = program("all_gather", heads=HEADS, kv_heads=KV_HEADS, gradients=True)
    assert sent(made, "all_gather") == {KEYS: 2 * 2, IDS: 2 * 2}
    assert sent(made, "reduce_scatter") == {(1, KV_HEADS, LENGTH, HEAD_DIM): 2}
    assert not sent(made, "ppermute")


def test_no_array_is_larger_than_the_gathered_keys() -> None:
    # A K or V repeated for every query head would be twice as large.
    made = program("all_gather", heads=HEADS, kv_heads=KV_HEADS, gradients=True)
    assert largest_local_array(made) == SHARE * KV_HEADS * HEAD_DIM * DEVICES


def test_shard_map_checks_which_values_vary_over_devices() -> None:
    checked = checks_varying_axes(program("all_gather", heads=HEADS, kv_heads=KV_HEADS, gradients=True))
    assert checked
    assert all(checked)
