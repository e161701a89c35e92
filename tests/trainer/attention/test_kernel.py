from __future__ import annotations

import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainer.attention import kernel
from trainer.attention.blockwise import NOTHING
from trainer.attention.context_parallel import attention
from trainer.attention.kernel import KernelName, merged
from trainer.attention.protocol import Output

HEAD_DIM = 16


def test_without_the_fused_kernel_blockwise_runs_and_one_warning_gives_the_reason() -> None:
    kernel._warn.cache_clear()
    arrays = [jax.ShapeDtypeStruct((1, 64, n, HEAD_DIM), jnp.float32) for n in (4, 2, 2)]
    ids = jax.ShapeDtypeStruct((1, 64), jnp.int32)

    def program(name: KernelName) -> str:
        return str(jax.make_jaxpr(partial(attention, mesh=None, tile=16, kernel=name))(*arrays, ids, ids))

    with pytest.warns(UserWarning, match="without the fused kernel.*cannot be compiled for cpu") as caught:
        made = [program(name) for name in ("fused", "fused")]
    assert len(caught) == 1
    assert made == [program("blockwise")] * 2
    assert "pallas_call" in program("interpreted")


def test_a_cpu_uses_the_blockwise_kernel_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kernel.usable(None, platform="cpu", tile=64, head_dim=64, dtype=jnp.float32) == "blockwise"


@pytest.mark.slow
def test_partial_outputs_are_merged_by_their_log_sum_exp() -> None:
    scores, values = jnp.array([0.3, -1.0, 2.0, 0.5]), jnp.array([[1.0], [2.0], [3.0], [4.0]])

    def attend(part: slice) -> Output:
        return Output(jax.nn.softmax(scores[part])[None] @ values[part], jax.nn.logsumexp(scores[part])[None])

    whole, made = attend(slice(0, 4)), merged(attend(slice(0, 1)), attend(slice(1, 4)))
    np.testing.assert_allclose(made.out, whole.out, rtol=1e-6)
    np.testing.assert_allclose(made.lse, whole.lse, rtol=1e-6)
    nothing = Output(jnp.zeros((1, 1)), jnp.full(1, NOTHING))
    np.testing.assert_array_equal(merged(whole, nothing).out, whole.out)
    np.testing.assert_array_equal(merged(nothing, nothing).out, 0)
