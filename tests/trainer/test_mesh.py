from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from schemas.errors import ConfigError
from trainer.config import MeshConfig
from trainer.mesh import AXES, RULES, batch_sharding, make_mesh, partition, require_host_memory, shardings
from trainer.model.llama.config import debug
from trainer.model.llama.transformer import Transformer
from trainer.model.registry import create

pytestmark = pytest.mark.slow


def test_axes_are_in_the_documented_order() -> None:
    mesh = make_mesh(MeshConfig(data=2, fsdp=1, tensor=2, sequence=2))
    assert mesh.axis_names == AXES == ("data", "fsdp", "tensor", "sequence")
    assert dict(mesh.shape) == {"data": 2, "fsdp": 1, "tensor": 2, "sequence": 2}


@pytest.mark.parametrize(
    ("config", "sequence", "data"),
    [(MeshConfig(), 8, 1), (MeshConfig(data=2), 4, 2), (MeshConfig(data=-1, sequence=2), 2, 4)],
)
def test_an_axis_of_minus_one_takes_the_remaining_devices(config: MeshConfig, sequence: int, data: int) -> None:
    mesh = make_mesh(config)
    assert mesh.shape["sequence"] == sequence
    assert mesh.shape["data"] == data


def test_a_mesh_may_use_a_subset_of_the_devices() -> None:
    assert make_mesh(MeshConfig(), devices=jax.devices()[:3]).shape["sequence"] == 3


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (MeshConfig(data=3), "data=3 .* takes a multiple of 3 devices, there are 8: take data = 2 or 4\\. "),
        (MeshConfig(data=2, sequence=2), "data=2 .* takes 4 devices, there are 8: take sequence = 4, or set one axis"),
        (MeshConfig(sequence=16), "sequence=16 takes 16 devices, there are 8: take sequence = 8, or set"),
        (MeshConfig(data=3, tensor=5, sequence=1), "takes 15 devices, there are 8: choose sizes that multiply"),
    ],
)
def test_a_mesh_that_does_not_match_the_devices_is_rejected_with_the_nearest_sizes(
    config: MeshConfig, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_mesh(config)


def test_dims_are_partitioned_by_the_rules() -> None:
    mesh = make_mesh(MeshConfig(fsdp=2, tensor=2, sequence=2))
    spec = partition(("layers", "embed", "heads", "head_dim"), (2, 32, 4, 8), mesh)
    assert spec == PartitionSpec(None, ("fsdp", "sequence"), ("tensor",), None)
    used = partition(("layers", "embed", "heads", "head_dim"), (2, 32, 4, 8), mesh, over=("tensor",))
    assert used == PartitionSpec(None, None, ("tensor",), None)


def test_an_indivisible_dim_is_not_split() -> None:
    mesh = make_mesh(MeshConfig(tensor=2, sequence=4))
    assert partition(("vocab", "embed"), (37, 32), mesh) == PartitionSpec(None, ("sequence",))


def test_a_dim_without_a_rule_is_rejected() -> None:
    with pytest.raises(ConfigError, match="'color'"):
        partition(("color",), (4,), make_mesh(MeshConfig()))


def test_every_rule_names_axes_of_the_mesh() -> None:
    assert {axis for axes in RULES.values() for axis in axes} == set(AXES)


def test_a_batch_is_split_in_rows_and_tokens() -> None:
    sharding = batch_sharding(make_mesh(MeshConfig(data=2, fsdp=2, sequence=2)))
    assert sharding.shard_shape((4, 64)) == (1, 32)


def test_moments_are_sharded_like_their_parameters() -> None:
    mesh = make_mesh(MeshConfig(fsdp=2, tensor=2, sequence=2))

    def make() -> Transformer:
        return Transformer(debug(), text_size=37, vision_size=13, rngs=nnx.Rngs(0), mesh=mesh)

    params = nnx.split(nnx.eval_shape(make))[1]
    moments = jax.eval_shape(optax.adam(1e-3).init, params)
    placed = shardings(params, mesh)
    adam = shardings(moments, mesh)[0]
    assert jax.tree.leaves(adam.mu) == jax.tree.leaves(placed)
    assert adam.count == NamedSharding(mesh, PartitionSpec())
    assert placed["layers"]["gate"].get_value().spec == PartitionSpec(None, ("fsdp", "sequence"), ("tensor",))


def test_a_model_is_initialized_sharded_and_identically_on_every_mesh() -> None:
    split = create(
        debug(), text_size=37, vision_size=13, mesh=make_mesh(MeshConfig(fsdp=2, tensor=2, sequence=2)), seed=3
    )
    one = make_mesh(MeshConfig(), devices=jax.devices()[:1])
    whole = create(debug(), text_size=37, vision_size=13, mesh=one, seed=3)
    assert isinstance(split, Transformer)
    gate = split.layers["gate"].get_value()
    assert gate.addressable_shards[0].data.shape == (2, 32 // 4, 48 // 2)
    same = jax.tree.map(lambda a, b: bool(jnp.array_equal(jax.device_get(a), b)), nnx.state(split), nnx.state(whole))
    assert all(jax.tree.leaves(same))


def test_offload_without_host_memory_is_rejected() -> None:
    class Memory:
        kind = "device"

    class Device:
        device_kind = "abacus"

        def addressable_memories(self) -> list[Memory]:
            return [Memory()]

    with pytest.raises(ConfigError, match="offload needs devices with pinned_host memory; abacus has device"):
        require_host_memory(Device())
