from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.extend.core import ClosedJaxpr, Jaxpr

from trainer.config import MeshConfig
from trainer.mesh import make_mesh, shardings
from trainer.model.llama.config import debug
from trainer.model.loss import batch_sums
from trainer.model.registry import abstract
from trainer.model.weights import gathered_weight, lookup

DIMS = ("vocab", "embed")


def test_a_gathered_weight_has_the_values_of_the_compute_dtype_and_a_float32_gradient() -> None:
    weight = jax.random.normal(jax.random.key(0), (8, 16))
    used = gathered_weight(weight, DIMS, "bfloat16", None)
    assert used.dtype == jnp.float32
    assert np.array_equal(used, weight.astype(jnp.bfloat16).astype(jnp.float32))
    upstream = jax.random.normal(jax.random.key(1), (8, 16))
    (gradient,) = jax.vjp(lambda w: gathered_weight(w, DIMS, "bfloat16", None), weight)[1](upstream)
    assert np.array_equal(gradient, upstream)
    narrow = weight.astype(jnp.bfloat16)
    assert jax.grad(lambda w: gathered_weight(w, DIMS, "bfloat16", None).sum())(narrow).dtype == jnp.bfloat16


@pytest.mark.slow
def test_the_gradient_of_a_lookup_is_that_of_take_and_does_not_lose_terms() -> None:
    table, ids = jax.random.normal(jax.random.key(0), (8, 4)), jax.random.randint(jax.random.key(1), (3, 5), 0, 8)
    upstream = jax.random.normal(jax.random.key(2), (3, 5, 4))
    ours = jax.vjp(lambda t: lookup(t, ids, DIMS, "float32", None), table)[1](upstream)[0]
    plain = jax.vjp(lambda t: jnp.take(t, ids, axis=0), table)[1](upstream)[0]
    np.testing.assert_allclose(ours, plain, rtol=1e-6)
    many = jnp.zeros(3000, jnp.int32)
    ones = jnp.ones((3000, 4), jnp.bfloat16)
    ours = jax.vjp(lambda t: lookup(t, many, DIMS, "bfloat16", None), table)[1](ones)[0]
    assert float(ours[0, 0]) == 3000  # a sum in bfloat16 stays at 256


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(2, 2, 1, 2), (1, 2, 2, 2)])
def test_gradients_of_weights_are_summed_over_devices_and_chunks_in_float32(sizes: tuple[int, ...]) -> None:
    data, fsdp, tensor, sequence = sizes
    mesh = make_mesh(MeshConfig(data=data, fsdp=fsdp, tensor=tensor, sequence=sequence))
    config = dataclasses.replace(debug(), dtype="bfloat16")
    graph, shapes = abstract(config, text_size=64, vision_size=32, mesh=mesh)
    params = jax.tree.map(
        lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes, shardings(shapes, mesh)
    )
    kinds = {"tokens": "int32", "targets": "int32", "segment_ids": "int32", "positions": "int32", "weights": "float32"}
    batch = {name: jax.ShapeDtypeStruct((4, 128), kind) for name, kind in kinds.items()}

    def loss(params: Any, batch: Any) -> jax.Array:
        return batch_sums(nnx.merge(graph, params), batch).ce

    with jax.numpy_dtype_promotion("standard"):
        jaxpr = jax.make_jaxpr(jax.grad(loss))(params, batch)
    weight_shapes = {x.shape[1:] if len(x.shape) > 2 else x.shape for x in jax.tree.leaves(shapes)}
    sums = [
        (value.aval.dtype.name, value.aval.shape, equation.params["axes"])
        for equation in _equations(jaxpr.jaxpr)
        if equation.primitive.name.startswith("psum")
        for value in equation.invars
    ]
    over_rows = [kind for kind, _, axes in sums if "data" in axes or "sequence" in axes]
    assert len(over_rows) > 8
    assert set(over_rows) == {"float32"}
    scatters = [e for e in _equations(jaxpr.jaxpr) if e.primitive.name == "scatter-add"]
    assert {e.invars[0].aval.dtype.name for e in scatters if e.invars[0].aval.shape in weight_shapes} == {"float32"}


def _equations(jaxpr: Jaxpr) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: isinstance(x, Jaxpr | ClosedJaxpr)
        ):
            if isinstance(value, ClosedJaxpr):
                yield from _equations(value.jaxpr)
            elif isinstance(value, Jaxpr):
                yield from _equations(value)
