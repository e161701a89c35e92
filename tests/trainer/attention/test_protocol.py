from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from trainer.attention.context_parallel import STRATEGIES
from trainer.attention.kernel import make_kernel
from trainer.attention.protocol import ContextParallel, Kernel, Keys, Queries
from trainer.attention.tiles import Tokens


def _parameters(function: Callable[..., Any]) -> list[tuple[str, Any]]:
    return [(name, p.kind) for name, p in inspect.signature(function).parameters.items() if name != "self"]


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("function", ["forward", "backward"])
def test_every_strategy_has_the_signatures_of_the_protocol(name: str, function: str) -> None:
    strategy = STRATEGIES[name]  # type: ignore[index]
    assert _parameters(getattr(strategy, function)) == _parameters(getattr(ContextParallel, function))


@pytest.mark.parametrize("name", ["blockwise", "fused", "interpreted"])
@pytest.mark.parametrize("function", ["forward", "backward"])
def test_every_kernel_has_the_signatures_of_the_protocol(name: Any, function: str) -> None:
    kernel = make_kernel(name, tile=16)
    assert _parameters(getattr(kernel, function)) == _parameters(getattr(Kernel, function))


@pytest.mark.parametrize("name", ["blockwise", "interpreted"])
def test_kernels_return_float32_of_the_documented_shapes_for_bfloat16_inputs(name: Any) -> None:
    tokens = Tokens(*(jax.ShapeDtypeStruct((2, 32), jnp.int32),) * 2)
    queries = Queries(jax.ShapeDtypeStruct((2, 3, 2, 32, 16), jnp.bfloat16), tokens)
    keys = Keys(*(jax.ShapeDtypeStruct((2, 3, 32, 16), jnp.bfloat16),) * 2, tokens)
    made = jax.eval_shape(make_kernel(name, tile=16).forward, queries, keys)
    assert (made.out.shape, made.out.dtype) == ((2, 3, 2, 32, 16), jnp.float32)
    assert (made.lse.shape, made.lse.dtype) == ((2, 3, 2, 32), jnp.float32)
