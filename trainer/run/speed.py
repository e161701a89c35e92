"""The speed of devices in the operation that dominates training, to turn operations into time."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from schemas.counted import counted
from trainer.config import Dtype

# Shares of the speed of a matrix product that training steps reach. On CPUs, those of docs/models.md.
_OF_ACCELERATORS, _OF_CPUS = 0.4, 0.5
_SIDE, _REPEATS = 1024, 8


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast all devices together train."""

    flops_per_s: float  # of matrix products
    utilization: float  # share of it that a step reaches, by the operations that a plan counts
    source: str  # where the number comes from

    def seconds(self, flops: float) -> float:
        """Return the time of so many operations."""
        return flops / (self.flops_per_s * self.utilization)


@functools.cache
def matmul_flops_per_s(dtype: Dtype) -> float:
    """Return the floating-point operations per second of the fastest of a few square products on the first device.

    Virtual CPU devices share the processor, so this is then the speed of all of them together. It is measured once per
    process: several runs in one process, such as the stages of a curriculum, do not measure it again.
    """
    a = jax.device_put(jnp.ones((_SIDE, _SIDE), dtype), jax.local_devices()[0])
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(a, a))
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        jax.block_until_ready(product(a, a))
        times.append(time.perf_counter() - started)
    return 2 * _SIDE**3 / min(times)


def speed_of(
    dtype: Dtype, *, devices: int, flops_per_s: float | None = None, utilization: float | None = None
) -> Speed:
    """Return the speed of `devices` together; that of one is `flops_per_s`, or measured if None.

    `utilization` is 0.5 by default if the speed is that of the CPU of this machine, else 0.4.
    """
    share = utilization or _OF_ACCELERATORS
    if flops_per_s is not None:
        return Speed(flops_per_s=devices * flops_per_s, utilization=share, source=counted(devices, "device"))
    measured = matmul_flops_per_s(dtype)
    if jax.devices()[0].platform == "cpu":  # virtual devices share the processor
        source = "measured on this machine's CPU"
        return Speed(flops_per_s=measured * jax.process_count(), utilization=utilization or _OF_CPUS, source=source)
    return Speed(flops_per_s=devices * measured, utilization=share, source="measured on this machine")
