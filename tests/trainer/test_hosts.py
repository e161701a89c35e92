from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import ConfigError
from tests.support.training.runs import run_environment
from trainer.hosts import arrange, hosts_per_axis
from trainer.mesh import AXES

SIZES = [
    dict(zip(AXES, sizes, strict=True)) for sizes in itertools.product((1, 2, 3, 4), (1, 2), (1, 2, 4), (1, 2, 4, 8))
]


@dataclass(frozen=True)
class Device:
    """What JAX tells of a device."""

    id: int
    process_index: int
    slice_index: int = 0
    platform: str = "gpu"
    device_kind: str = "test"
    core_on_chip: int = 0

    @property
    def coords(self) -> tuple[int, int, int]:
        """The place in a slice of 2 x 4 chips."""
        return self.id % 2, self.id % 8 // 2, 0


@pytest.mark.parametrize(
    ("sizes", "hosts", "expected"),
    [
        ((2, 1, 1, 4), 2, (2, 1, 1, 1)),
        ((2, 1, 2, 2), 4, (2, 1, 1, 2)),  # the ring crosses hosts rather than the products
        ((1, 1, 2, 4), 2, (1, 1, 1, 2)),
        ((1, 2, 2, 2), 8, (1, 2, 2, 2)),
        ((6, 1, 1, 2), 4, (2, 1, 1, 2)),
        ((1, 4, 1, 2), 2, (1, 2, 1, 1)),
        ((1, 1, 1, 8), 1, (1, 1, 1, 1)),
    ],
)
def test_outer_axes_cross_hosts_first(sizes: tuple[int, ...], hosts: int, expected: tuple[int, ...]) -> None:
    assert tuple(hosts_per_axis(dict(zip(AXES, sizes, strict=True)), hosts=hosts).values()) == expected


@pytest.mark.parametrize("hosts", [1, 2, 3, 4, 6])
def test_every_host_holds_a_block_of_the_mesh(hosts: int) -> None:
    tried = 0
    for sizes in SIZES:
        total = math.prod(sizes.values())
        if total % hosts:
            continue
        tried += 1
        mesh = arrange([Device(i, i * hosts // total) for i in range(total)], sizes)
        assert mesh.shape == tuple(sizes.values())
        assert sorted(d.id for d in mesh.flat) == list(range(total))
        crossing = hosts_per_axis(sizes, hosts=hosts)
        for host in range(hosts):
            held = np.argwhere(np.vectorize(lambda d, host=host: d.process_index == host, otypes=[bool])(mesh))
            extent = held.max(0) - held.min(0) + 1
            assert extent.tolist() == [size // crossing[axis] for axis, size in sizes.items()]
    assert tried > 5


def test_processes_of_one_slice_of_tpus_are_one_host() -> None:
    devices = [Device(i, process_index=i // 2, slice_index=i // 8, platform="tpu") for i in range(16)]
    mesh = arrange(devices, {"data": 2, "fsdp": 1, "tensor": 1, "sequence": 8})
    assert [[d.slice_index for d in row] for row in mesh.reshape(2, 8)] == [[0] * 8, [1] * 8]


def test_hosts_with_different_numbers_of_devices_are_rejected() -> None:
    devices = [Device(i, process_index=min(i // 3, 1)) for i in range(8)]
    with pytest.raises(ConfigError, match=r"they have 3 \(host 0\), 5 \(host 1\): start the same number of processes"):
        arrange(devices, {"data": 2, "fsdp": 1, "tensor": 1, "sequence": 4})


_PROCESSES = """
import sys
from trainer.run.group.launcher import run_locally
run_locally(int(sys.argv[1]), [sys.executable, *sys.argv[2:]])
"""
_PLACEMENT = """
import json, sys
from pathlib import Path
from trainer.config import MeshConfig
from trainer.mesh import make_mesh
from trainer.run.group.distributed import Distributed, connect
import jax
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
connect(Distributed())
found = []
for sizes in json.loads(sys.argv[2]):
    mesh = make_mesh(MeshConfig(**sizes))
    found.append([[d.process_index for d in mesh.devices.flat], dict(mesh.shape)])
if jax.process_index() == 0:
    Path(sys.argv[3]).write_text(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "devices", "expected"),
    [
        (
            2,
            4,
            [
                ({"data": 2}, [0, 0, 0, 0, 1, 1, 1, 1]),
                ({"tensor": 2}, [0, 0, 1, 1, 0, 0, 1, 1]),  # [tensor, sequence]
                ({"data": 4, "sequence": 2}, [0, 0, 0, 0, 1, 1, 1, 1]),
            ],
        ),
        (
            4,
            2,
            [
                ({"data": 4}, [0, 0, 1, 1, 2, 2, 3, 3]),
                ({"tensor": 2, "sequence": 4}, [0, 1, 2, 3, 0, 1, 2, 3]),
                ({"fsdp": 2, "data": 2}, [0, 0, 1, 1, 2, 2, 3, 3]),
            ],
        ),
    ],
)
def test_processes_are_placed_so_that_inner_axes_stay_within_them(
    tmp_path: Path, processes: int, devices: int, expected: list[tuple[dict[str, int], list[int]]]
) -> None:
    script, out = tmp_path / "placement.py", tmp_path / "found.json"
    script.write_text(_PLACEMENT)
    asked = json.dumps([sizes for sizes, _ in expected])
    arguments = [str(processes), str(script), str(devices), asked, str(out)]
    subprocess.run([sys.executable, "-c", _PROCESSES, *arguments], env=run_environment(), check=True, timeout=300)
    assert [placement for placement, _ in json.loads(out.read_text())] == [placement for _, placement in expected]
