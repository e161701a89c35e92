"""The mesh of devices, and which dim of what is split over it.

All of sharding is one table, from the names of dims to axes of the mesh, and one pure function that reads it (after
jax-llm-examples). A weight is declared once, with shape, names of dims and initializer; that declaration makes it,
places it, and places its gradient and the optimizer's moments.

    data       copies of the model; rows of the batch
    fsdp       rows of the batch; weights are split, and gathered a layer at a time (ZeRO-3)
    tensor     heads and feed-forward columns (Megatron)
    sequence   tokens of a row, in a ring; to the weights these devices are data-parallel, so weights split here too

Axes: see `trainer/__init__.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from schemas.errors import ConfigError
from trainer.config import MeshConfig
from trainer.divisibility import nearest

AXES = ("data", "fsdp", "tensor", "sequence")
HOST_MEMORY = "pinned_host"  # JAX's name of the memory that offloaded activations are kept in

# The one table: the dims that things have, and the axes of the mesh that each is split over, outermost first.
RULES: dict[str, tuple[str, ...]] = {
    "batch": ("data", "fsdp"),
    "sequence": ("sequence",),
    "heads": ("tensor",),
    "kv_heads": ("tensor",),
    "ff": ("tensor",),
    "vocab": ("tensor",),
    "embed": ("fsdp", "sequence"),
    "layers": (),
    "head_dim": (),
    "model": (),  # the model dim of activations and norms, which is never split
}


@dataclass(frozen=True, kw_only=True)
class Weight:
    """The declaration of a parameter: `dims` names each dim of `shape` in RULES; `init(key, shape)` is float32."""

    shape: tuple[int, ...]
    dims: tuple[str, ...]
    init: Callable[[jax.Array, tuple[int, ...]], jax.Array]

    def stacked(self, layers: int) -> Weight:
        """Return the declaration of this weight for all layers at once, [L, ...]."""
        return replace(self, shape=(layers, *self.shape), dims=("layers", *self.dims))

    def make(self, key: jax.Array) -> nnx.Param[jax.Array]:
        """Make the parameter. It carries `dims`, from which `shardings` places it and all that is shaped like it."""
        return nnx.Param(self.init(key, self.shape), dims=self.dims)


def make_mesh(config: MeshConfig, *, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Arrange `devices` (default: all) as a mesh with the axes `AXES`.

    Raises ConfigError that names the nearest fit where the sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = [config.data, config.fsdp, config.tensor, config.sequence]
    named = math.prod(size for size in sizes if size != -1)
    if -1 in sizes and len(devices) % named == 0:
        sizes[sizes.index(-1)] = len(devices) // named
    if -1 in sizes or math.prod(sizes) != len(devices):
        raise ConfigError(_misfit(dict(zip(AXES, sizes, strict=True)), len(devices)))
    types = (AxisType.Auto,) * len(AXES)
    return jax.make_mesh(tuple(sizes), AXES, axis_types=types, devices=list(devices))


def _misfit(sizes: Mapping[str, int], devices: int) -> str:
    """Say that axes of these sizes, one of them -1 where it is open, do not make up the devices; and what would."""
    largest = max(reversed(AXES), key=lambda axis: sizes[axis])
    rest = math.prod(size for axis, size in sizes.items() if axis != largest and size != -1)
    is_open = -1 in sizes.values()
    choices = nearest(
        sizes[largest],
        range(1, devices + 1),
        lambda n: devices % (n * rest) == 0 if is_open else n * rest == devices,
    )
    asked = " x ".join(f"{axis}={size}" for axis, size in sizes.items())
    needed = rest * sizes[largest]
    return (
        f"the mesh {asked} takes {'a multiple of ' if is_open else ''}{needed} devices, there are {devices}: "
        + (f"take {largest} = {choices}" if choices else "choose sizes that multiply to that number")
        + ("" if is_open else ", or set one axis to -1 to take what the others leave")
        + ". On CPU, --devices sets how many there are."
    )


def partition(dims: Sequence[str], shape: Sequence[int], mesh: Mesh, *, over: Sequence[str] = AXES) -> PartitionSpec:
    """Turn the names of an array's dims into a PartitionSpec, by RULES.

    A dim that its axes do not divide evenly stays whole (a vocabulary of 8,003 ids, say). `over` limits the axes
    that may be used: a weight in use is split over "tensor" only.
    """

    def axes(dim: str, size: int) -> tuple[str, ...] | None:
        if dim not in RULES:
            raise ConfigError(f"no rule for a dim named {dim!r}; trainer/mesh.py has {', '.join(RULES)}")
        chosen = tuple(axis for axis in RULES[dim] if axis in over and mesh.shape[axis] > 1)
        fits = size % math.prod(mesh.shape[axis] for axis in chosen) == 0
        return chosen if chosen and fits else None

    return PartitionSpec(*(axes(dim, size) for dim, size in zip(dims, shape, strict=True)))


def shardings(tree: Any, mesh: Mesh) -> Any:
    """Return, for every leaf of `tree`, the NamedSharding it has on `mesh`; same structure as `tree`.

    Parameters, and what an optimizer keeps in their image (moments), are placed by their `dims`; all else (counters)
    has a copy on every device. Works on real arrays and on `jax.eval_shape`'s.
    """

    def place(leaf: Any) -> Any:
        if not isinstance(leaf, nnx.Variable):
            return NamedSharding(mesh, PartitionSpec())
        dims = leaf.get_metadata().get("dims")
        spec = partition(dims, leaf.get_value().shape, mesh) if dims else PartitionSpec()
        return jax.tree.map(lambda _: NamedSharding(mesh, spec), leaf)

    return jax.tree.map(place, tree, is_leaf=lambda x: isinstance(x, nnx.Variable))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding of every array [B, S] of a batch: rows over data and fsdp, tokens over sequence."""
    return NamedSharding(mesh, PartitionSpec(RULES["batch"], RULES["sequence"]))


def constrain(x: jax.Array, dims: Sequence[str], mesh: Mesh | None, *, over: Sequence[str] = AXES) -> jax.Array:
    """Tell the compiler where `x` lies, by the names of its dims; without a mesh, do nothing."""
    if mesh is None:
        return x
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, partition(dims, x.shape, mesh, over=over)))


def require_host_memory(device: jax.Device) -> None:
    """Raise ConfigError unless the device can copy to and from host memory."""
    kinds = [memory.kind for memory in device.addressable_memories()]
    if HOST_MEMORY not in kinds:
        raise ConfigError(
            f"offload needs devices with {HOST_MEMORY} memory; {device.device_kind} has {', '.join(kinds)}: "
            "run without --offload"
        )
