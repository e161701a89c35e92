"""What the program of attention over devices is made of, read from its jaxpr: collectives, their order, sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.extend.core import Jaxpr

from trainer.attention.context_parallel import attention
from trainer.config import AttentionMethod, MeshConfig
from trainer.mesh import make_mesh

pytestmark = pytest.mark.slow

DEVICES, LENGTH, HEADS, KV_HEADS, HEAD_DIM, TILE = 8, 256, 4, 2, 8, 8
SHARE = LENGTH // DEVICES


def _program(method: AttentionMethod, *, gradients: bool) -> Jaxpr:
    mesh = make_mesh(MeshConfig(sequence=DEVICES))
    attend = partial(attention, mesh=mesh, tile=TILE, method=method)
    run = attend if not gradients else jax.grad(lambda *x: jnp.sum(jnp.square(attend(*x))), argnums=(0, 1, 2))
    q, k = (jax.ShapeDtypeStruct((1, LENGTH, n, HEAD_DIM), jnp.float32) for n in (HEADS, KV_HEADS))
    ids = jax.ShapeDtypeStruct((1, LENGTH), jnp.int32)
    return jax.make_jaxpr(run)(q, k, k, ids, ids).jaxpr


def _equations(jaxpr: Jaxpr, times: int = 1) -> Iterator[tuple[Any, int]]:
    """Give every equation, inner ones included, and how often it runs (those of dynamic loops count once)."""
    for equation in jaxpr.eqns:
        yield equation, times
        inner = times * (equation.params["length"] if equation.primitive.name == "scan" else 1)
        for part in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            part = getattr(part, "jaxpr", part)
            if hasattr(part, "eqns"):
                yield from _equations(part, inner)


def _sent(program: Jaxpr, collective: str) -> dict[tuple[int, ...], int]:
    """Return how many arrays of each shape every device sends by that collective."""
    sent: dict[tuple[int, ...], int] = {}
    for equation, times in _equations(program):
        if equation.primitive.name == collective:
            shape = equation.invars[0].aval.shape
            sent[shape] = sent.get(shape, 0) + times
    return sent


KEYS, IDS = (1, KV_HEADS, SHARE, HEAD_DIM), (1, SHARE)


def test_keys_and_values_take_one_hop_less_than_there_are_devices() -> None:
    hops = DEVICES - 1
    assert _sent(_program("ring", gradients=False), "ppermute") == {KEYS: 2 * hops, IDS: 2 * hops}


def test_in_backward_their_gradients_take_as_many_hops_as_there_are_devices() -> None:
    hops = DEVICES - 1
    forward = backward = 2 * hops  # K and V, ids and positions
    gradients = 2 * DEVICES
    sent = _sent(_program("ring", gradients=True), "ppermute")
    assert sent == {KEYS: forward + backward + gradients, IDS: forward + backward}


def test_what_is_sent_leaves_before_the_work_of_a_hop_and_does_not_wait_for_it() -> None:
    hops = 0
    for equation, _ in _equations(_program("ring", gradients=True)):
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
        assert all(body.eqns[i].invars[0] not in computed for i in sends)  # straight from what arrived
    assert hops == 2  # the loop over hops of forward, and that of backward


def _inside(equation: Any) -> list[tuple[Any, int]]:
    parts = (getattr(x, "jaxpr", x) for x in jax.tree.leaves(list(equation.params.values())))
    return [(equation, 1), *(pair for part in parts if hasattr(part, "eqns") for pair in _equations(part))]


@pytest.mark.parametrize("method", ["ring", "all_gather"])
def test_nothing_is_larger_than_the_method_promises(method: AttentionMethod) -> None:
    largest = max(
        math.prod(v.aval.shape)
        for equation, _ in _equations(_program(method, gradients=True))
        if equation.primitive.name != "shard_map"
        for v in equation.outvars
        if not _is_global(v.aval.shape)
    )
    queries, keys = SHARE * HEADS * HEAD_DIM, SHARE * KV_HEADS * HEAD_DIM
    # A tile of scores, the queries, or what was gathered; a repeated K or V would be twice the latter.
    promised = {"ring": max(queries, TILE * TILE * HEADS // KV_HEADS), "all_gather": keys * DEVICES}[method]
    assert largest == promised


def _is_global(shape: tuple[int, ...]) -> bool:
    return LENGTH in shape[:2] and shape[-1] in (HEAD_DIM, LENGTH)


def test_an_all_gather_is_one_collective_an_array_and_gradients_are_summed_where_they_belong() -> None:
    program = _program("all_gather", gradients=True)
    assert _sent(program, "all_gather") == {KEYS: 2 * 2, IDS: 2 * 2}
    assert _sent(program, "reduce_scatter") == {(1, KV_HEADS, LENGTH, HEAD_DIM): 2}
    assert not _sent(program, "ppermute")


@pytest.mark.parametrize("method", ["ring", "all_gather"])
def test_shard_map_checks_what_varies_over_devices(method: AttentionMethod) -> None:
    checked = [
        equation.params["check_vma"]
        for equation, _ in _equations(_program(method, gradients=True))
        if equation.primitive.name == "shard_map"
    ]
    assert checked
    assert all(checked)
