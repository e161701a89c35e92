"""The structure of a ring's program, read from its jaxpr."""

from __future__ import annotations

from typing import Any

import jax
import pytest

from tests.support.training.attention_programs import (
    DEVICES,
    HEAD_DIM,
    IDS,
    SHARE,
    TILE,
    checks_varying_axes,
    equations,
    key_shape,
    largest_local_array,
    program,
    sent,
)

pytestmark = pytest.mark.slow

HEADS, KV_HEADS = 4, 2
KEYS = key_shape(KV_HEADS)


def test_keys_and_values_take_one_hop_fewer_than_there_are_devices() -> None:
    hops = DEVICES - 1
    forward = program("ring", heads=HEADS, kv_heads=KV_HEADS, gradients=False)
    assert sent(forward, "ppermute") == {KEYS: 2 * hops, IDS: 2 * hops}


def test_key_and_value_gradients_take_as_many_hops_as_there_are_devices() -> None:
    hops = DEVICES - 1
    forward = backward = 2 * hops  # K and V, ids and positions
    gradients = 2 * DEVICES
    made = sent(program("ring", heads=HEADS, kv_heads=KV_HEADS, gradients=True), "ppermute")
    assert made == {KEYS: forward + backward + gradients, IDS: forward + backward}


def test_transfers_start_before_the_computation_of_a_hop_and_do_not_depend_on_it() -> None:
    hops = 0
    for equation, _ in equations(program("ring", heads=HEADS, kv_heads=KV_HEADS, gradients=True)):
        if equation.primitive.name != "scan":
            continue
        body = equation.params["jaxpr"].jaxpr
        kinds = [e.primitive.name for e in body.eqns]
        if "ppermute" not in kinds:
            continue
        hops += 1
        work = next(i for i, e in enumerate(body.eqns) if any(x.primitive.name == "dot_general" for x, _ in _inside(e)))
        sends = [i for i, kind in enumerate(kinds) if kind == "ppermute"]
        assert max(sends) < work
        computed = {v for e in body.eqns[:work] if e.primitive.name != "ppermute" for v in e.outvars}
        assert all(body.eqns[i].invars[0] not in computed for i in sends)  # what is sent on is what arrived
    assert hops == 2  # the loop over hops of the forward pass, and that of the backward pass


def _inside(equation: Any) -> list[tuple[Any, int]]:
    parts = (getattr(x, "jaxpr", x) for x in jax.tree.leaves(list(equation.params.values())))
    return [(equation, 1), *(pair for part in parts if hasattr(part, "eqns") for pair in equations(part))]


def test_no_array_is_larger_than_the_local_queries_or_a_tile_of_scores() -> None:
    made = program("ring", heads=HEADS, kv_heads=KV_HEADS, gradients=True)
    assert largest_local_array(made) == max(SHARE * HEADS * HEAD_DIM, TILE * TILE * HEADS // KV_HEADS)


def test_shard_map_checks_which_values_vary_over_devices() -> None:
    checked = checks_varying_axes(program("ring", heads=HEADS, kv_heads=KV_HEADS, gradients=True))
    assert checked
    assert all(checked)
