"""Arranges devices of several hosts as a mesh, so that the axes with the most communication stay within a host.

Connections between hosts are several times slower than those within one. The axes `data` and `fsdp` communicate once
per step or layer and cross hosts first; then `sequence`, whose ring overlaps with computation; `tensor` waits for every
product, and comes last. A host is a process, or a slice of TPUs, which is one fast network over many processes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from jax.experimental import mesh_utils
from numpy.typing import NDArray

from schemas.errors import ConfigError

CROSSING = ("data", "fsdp", "sequence", "tensor")  # which axes cross hosts, the first one first


def hosts_per_axis(sizes: Mapping[str, int], *, hosts: int) -> dict[str, int]:
    """Return over how many hosts each axis of a mesh extends; the product is `hosts`, which divides that of `sizes`."""
    crossing = dict.fromkeys(sizes, 1)
    for axis in CROSSING:
        crossing[axis] = math.gcd(sizes[axis], hosts)
        hosts //= crossing[axis]
    return crossing


def arrange(devices: Sequence[Any], sizes: Mapping[str, int]) -> NDArray[Any]:
    """Return the devices in the shape of `sizes`, which has all four axes and multiplies to the number of devices.

    Raises ConfigError if hosts have different numbers of devices.
    """
    by_process = devices[0].platform != "tpu"
    counts = Counter(device.process_index if by_process else device.slice_index for device in devices)
    shape = tuple(sizes.values())
    if len(counts) == 1:
        return mesh_utils.create_device_mesh(shape, devices)
    if len(set(counts.values())) > 1:
        raise ConfigError(
            "a mesh needs the same number of devices on every host, but they have "
            + ", ".join(f"{count} (host {host})" for host, count in sorted(counts.items()))
            + ": start the same number of processes with the same number of devices on each"
        )
    crossing = hosts_per_axis(sizes, hosts=len(counts))
    within = [size // crossing[axis] for axis, size in sizes.items()]
    return mesh_utils.create_hybrid_device_mesh(within, list(crossing.values()), devices, process_is_granule=by_process)
