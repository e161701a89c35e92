from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from tests.support.training.float64_attention import float64_attention
from tests.support.training.packed_sequences import packed, random_order
from trainer.attention import fused
from trainer.attention.context_parallel import attention
from trainer.attention.kernel import KernelName
from trainer.config import MeshConfig
from trainer.mesh import make_mesh

pytestmark = pytest.mark.slow

ROWS, LENGTH, TILE, HEAD_DIM = 2, 64, 8, 16
Arrays = tuple[jax.Array, ...]


def _inputs(rng: np.random.Generator) -> Arrays:
    return tuple(jnp.asarray(rng.normal(size=(ROWS, LENGTH, n, HEAD_DIM)), jnp.float32) for n in (4, 2, 2, 4))


def _run(name: KernelName, mesh: Mesh | None = None, tile: int = TILE) -> Callable[..., Arrays]:
    def run(q, k, v, d_out, segment_ids, positions) -> Arrays:
        attend = partial(attention, mesh=mesh, tile=tile, kernel=name)
        out, pull = jax.vjp(lambda q, k, v: attend(q, k, v, segment_ids, positions), q, k, v)
        return out, *pull(d_out)

    return jax.jit(run)


def _mesh(devices: int) -> Mesh:
    return make_mesh(MeshConfig(sequence=devices), devices=jax.devices()[:devices])


def test_the_interpreted_kernel_equals_dense_attention_in_a_ring() -> None:
    run = _run("interpreted", _mesh(2))
    for seed, longest in enumerate((1, 7, 30, LENGTH)):
        rng = np.random.default_rng(seed)
        rows = packed(rng, rows=ROWS, length=LENGTH, longest=longest)
        if seed % 2:
            rows = rows.permuted(random_order(rng, LENGTH))
        if seed == 2:
            rows.segment_ids[0] = 0  # nothing but padding
        arrays = _inputs(rng)
        made = run(*arrays, rows.segment_ids, rows.positions)
        for name, a, b in zip(("out", "dQ", "dK", "dV"), made, float64_attention(*arrays, rows), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5, err_msg=f"{name}, documents up to {longest}")
            assert np.all(np.asarray(a)[rows.segment_ids == 0] == 0)


def test_attention_lowers_to_three_gpu_programs_also_inside_shard_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        fused, "unsupported_reason", lambda *_: None
    )  # there is no GPU here to compile for: it is only lowered
    arrays = [jax.ShapeDtypeStruct((1, 512, n, 64), jnp.bfloat16) for n in (4, 2, 2, 4)]
    ids = jax.ShapeDtypeStruct((1, 512), jnp.int32)
    for mesh, programs in ((None, 3), (_mesh(4), 2 + 3 * 2)):  # a ring has a loop, and hops before and after it
        traced = _run("fused", mesh, tile=64).trace(*arrays, ids, ids)
        assert traced.lower(lowering_platforms=("cuda",)).as_text().count("xla.gpu.triton") == programs


def test_unsupported_sizes_are_reported() -> None:
    assert "got 4 and" in (fused.unsupported_reason(fused.block(12), 64, jnp.dtype(jnp.float32)) or "")
    assert "48" in (fused.unsupported_reason(fused.block(512), 48, jnp.dtype(jnp.float32)) or "")
