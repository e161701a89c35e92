"""The speed of a device in the operation that dominates training, to turn operations into time."""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp

from trainer.config import Dtype
from trainer.planning.report import Speed

_SIDE, _REPEATS = 2048, 5


def matmul_flops_per_s(dtype: Dtype) -> float:
    """Return the floating-point operations per second of the fastest of a few square products on the first device.

    Virtual CPU devices share the processor, so this is then the speed of all of them together.
    """
    a = jnp.ones((_SIDE, _SIDE), dtype)
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(a, a))
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        jax.block_until_ready(product(a, a))
        times.append(time.perf_counter() - started)
    return 2 * _SIDE**3 / min(times)


def speed_of(dtype: Dtype, *, devices: int, flops_per_s: float | None, utilization: float) -> Speed:
    """Return the speed of `devices` together; that of one is `flops_per_s`, or measured if None."""
    if flops_per_s is not None:
        return Speed(flops_per_s=devices * flops_per_s, utilization=utilization, source=f"{devices} devices")
    measured = matmul_flops_per_s(dtype)
    if jax.devices()[0].platform == "cpu":  # virtual devices share the processor
        return Speed(flops_per_s=measured, utilization=utilization, source="measured on this machine's CPU")
    return Speed(flops_per_s=devices * measured, utilization=utilization, source="measured on this machine")
