"""Batches of a dataset on the devices of JAX.

Axes: B sequences of a batch, S tokens of a sequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jax
from jax.sharding import Mesh

from schemas.errors import ConfigError
from schemas.storage.location import Location
from trainer.config import MeshConfig
from trainer.data.loader import Placement, training_batches
from trainer.data.order import Order
from trainer.data.shards import PackedSplit
from trainer.mesh import make_mesh


def jax_batches(
    place: str | Path, *, batch_size: int, split: str = "train", seed: int = 0, mesh: Mesh | None = None
) -> Iterator[dict[str, jax.Array]]:
    """Return an endless iterator over shuffled batches of a dataset, as `longreel train` reads them.

    A batch has tokens, targets, segment_ids and positions (int32) and weights (float32), each [B, S], in the order of
    the tokens; `Dataset.arrays` describes them. `mesh` has the axes data, fsdp, tensor and sequence, over which batches
    are divided (`trainer.mesh.make_mesh`); the default is the first device. The iterator has `get_state` and
    `set_state` of Grain. Raises ConfigError if the mesh does not divide a batch, DatasetError if a file is damaged.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
    mesh = mesh or make_mesh(MeshConfig(), devices=jax.devices()[:1])
    data = PackedSplit([Location.parse(place)], split)
    columns = data.context_length // mesh.shape["sequence"]
    placement = Placement.of(mesh, (batch_size, data.context_length), layout="contiguous", tile=columns)
    loader, order = placement.loader(data), Order(data.sizes, seed=seed)
    return training_batches(
        lambda indices: placement.place(loader(indices)),
        lambda number: order.sequences(number * batch_size, (number + 1) * batch_size),
        read=loader.read_options,
    )
