"""The device mesh, and the rules that shard arrays over it.

One table maps dim names to mesh axes, and one pure function applies it (after jax-llm-examples). A weight is declared
once, with its shape, dim names and initializer; the declaration determines how the parameter is initialized and how it,
its gradient and the optimizer's moments are sharded.

    data       model replicas; splits the rows of the batch
    fsdp       splits the rows of the batch and the weights, which are gathered one layer at a time (ZeRO-3)
    tensor     splits attention heads and feed-forward columns (Megatron)
    sequence   splits the tokens of a row; these devices are data-parallel with respect to the weights, so the weights
               are split over this axis too

Axes: see `trainer/__init__.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
from flax import nnx
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from schemas.counted import counted
from schemas.errors import ConfigError
from trainer.config import MeshConfig
from trainer.divisibility import nearest
from trainer.hosts import arrange

AXES = ("data", "fsdp", "tensor", "sequence")
HOST_MEMORY = "pinned_host"  # JAX's name for the memory that holds offloaded activations

# The mesh axes that each dim is split over, outermost first.
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
    "model": (),  # the model dim of activations and norms; never split
}


@dataclass(frozen=True, kw_only=True)
class Weight:
    """The declaration of a parameter: `dims` names each dim of `shape` in RULES; `init(key, shape)` is float32.

    Weight decay applies to a parameter that is `decayed`: to matrices, but not to biases and the scales of norms.
    """

    shape: tuple[int, ...]
    dims: tuple[str, ...]
    init: Callable[[jax.Array, tuple[int, ...]], jax.Array]
    decayed: bool = True

    def stacked(self, layers: int) -> Weight:
        """Return the declaration of this weight for all layers at once, [L, ...]."""
        return replace(self, shape=(layers, *self.shape), dims=("layers", *self.dims))

    def make(self, key: jax.Array) -> nnx.Param[jax.Array]:
        """Initialize the parameter.

        It carries `dims`, by which `shardings` shards it, its gradient and moments, and `decayed` for the optimizer.
        """
        return nnx.Param(self.init(key, self.shape), dims=self.dims, decayed=self.decayed)


def make_mesh(config: MeshConfig, *, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Arrange `devices` (default: all) as a mesh with the axes `AXES`; see `hosts.py` for which cross hosts.

    Raises ConfigError, with the nearest valid size, if the sizes do not multiply to the number of devices, or if hosts
    have different numbers of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = mesh_sizes(config, devices=len(devices))
    return Mesh(arrange(devices, sizes), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def mesh_sizes(config: MeshConfig, *, devices: int) -> dict[str, int]:
    """Return the size of each axis of `AXES` for a number of devices; raises ConfigError as `make_mesh` does."""
    sizes = [config.data, config.fsdp, config.tensor, config.sequence]
    named = math.prod(size for size in sizes if size != -1)
    if -1 in sizes and devices % named == 0:
        sizes[sizes.index(-1)] = devices // named
    if -1 in sizes or math.prod(sizes) != devices:
        raise ConfigError(_misfit(dict(zip(AXES, sizes, strict=True)), devices))
    return dict(zip(AXES, sizes, strict=True))


def _misfit(sizes: Mapping[str, int], devices: int) -> str:
    """Return the error message for axis sizes that do not match the number of devices, with sizes that do.

    A size of -1 is an axis that takes the remaining devices.
    """
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
    takes = f"{'a multiple of ' if is_open else ''}{counted(needed, 'device')}"
    return (
        f"the mesh {asked} takes {takes}, there are {devices}: "
        + (f"take {largest} = {choices}" if choices else "choose sizes that multiply to that number")
        + ("" if is_open else ", or set one axis to -1 to take what the others leave")
        + ". On CPU, --devices sets how many there are."
    )


def partition(
    dims: Sequence[str], shape: Sequence[int], mesh: Mesh | AbstractMesh, *, over: Sequence[str] = AXES
) -> PartitionSpec:
    """Convert the dim names of an array to a PartitionSpec, by RULES.

    A dim that its axes do not divide evenly is not split (for example, a vocabulary of 8,003 ids). `over` restricts the
    axes: during computation a weight is split over "tensor" only.
    """

    def axes(dim: str, size: int) -> tuple[str, ...] | None:
        if dim not in RULES:
            raise ConfigError(f"no rule for a dim named {dim!r}; trainer/mesh.py has {', '.join(RULES)}")
        chosen = tuple(axis for axis in RULES[dim] if axis in over and mesh.shape[axis] > 1)
        fits = size % math.prod(mesh.shape[axis] for axis in chosen) == 0
        return chosen if chosen and fits else None

    return PartitionSpec(*(axes(dim, size) for dim, size in zip(dims, shape, strict=True)))


def shardings(tree: Any, mesh: Mesh) -> Any:
    """Return the NamedSharding on `mesh` of every leaf of `tree`, in a tree of the same structure.

    Parameters and the optimizer's moments are sharded by their `dims`; other leaves (counters) are replicated. Leaves
    may be arrays or the results of `jax.eval_shape`.
    """

    def place(leaf: Any) -> Any:
        if not isinstance(leaf, nnx.Variable):
            return NamedSharding(mesh, PartitionSpec())
        if not jax.tree.leaves(leaf):  # left out of this part of the optimizer's state
            return leaf
        dims = leaf.get_metadata().get("dims")
        spec = partition(dims, leaf.get_value().shape, mesh) if dims else PartitionSpec()
        return jax.tree.map(lambda _: NamedSharding(mesh, spec), leaf)

    return jax.tree.map(place, tree, is_leaf=lambda x: isinstance(x, nnx.Variable))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding of every array [B, S] of a batch: rows over data and fsdp, tokens over sequence."""
    return NamedSharding(mesh, PartitionSpec(RULES["batch"], RULES["sequence"]))


def constrain(x: jax.Array, dims: Sequence[str], mesh: Mesh | None, *, over: Sequence[str] = AXES) -> jax.Array:
    """Constrain the sharding of `x` by its dim names; without a mesh, return `x`."""
    if mesh is None:
        return x
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, partition(dims, x.shape, mesh, over=over)))


def require_host_memory(device: jax.Device) -> None:
    """Raise ConfigError unless the device can copy to and from host memory."""
    kinds = [memory.kind for memory in device.addressable_memories()]
    if HOST_MEMORY not in kinds:
        raise ConfigError(
            f"offload needs devices with {HOST_MEMORY} memory; {device.device_kind} has {', '.join(kinds)}: "
            "run without --offload and --optimizer.offload"
        )
