from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.errors import DamagedSequence
from tests.support.training.training_dataset import write_dataset
from trainer.config import MeshConfig
from trainer.data.device_batches import DeviceBatches
from trainer.data.loader import Batch, Placement, training_batches
from trainer.data.shards import PackedSplit
from trainer.mesh import make_mesh

S = 64
SIZES = [2, 4]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> PackedSplit:
    return PackedSplit([write_dataset(tmp_path_factory.mktemp("packed") / "set", context=S, train=6)], "train")


def _numbers(number: int) -> NDArray[np.int64]:
    """Two sequences in each of the first three batches, then four."""
    return np.arange(SIZES[number >= 3]) + number % 2


def _batches(split: PackedSplit, *, load: Callable[..., Batch] | None = None) -> DeviceBatches:
    mesh = make_mesh(MeshConfig(data=2, sequence=4))
    placements = {size: Placement.of(mesh, (size, S), layout="block_cyclic", tile=8) for size in SIZES}
    loaders = {size: place.loader(split) for size, place in placements.items()}
    iterator = training_batches(load or (lambda indices: loaders[len(indices)](indices)), _numbers)
    return DeviceBatches(iterator, placements)


def test_batches_of_every_size_are_on_the_mesh_and_the_position_does_not_count_the_one_ahead(
    split: PackedSplit,
) -> None:
    with closing(_batches(split)) as batches:
        taken, positions = [], []
        for _ in range(5):
            taken.append(batches.next())
            positions.append(batches.position)
    assert [batch["tokens"].shape for batch in taken] == [(2, S)] * 3 + [(4, S)] * 2
    for k in range(4):
        with closing(_batches(split)) as again:
            again.seek(positions[k])
            batch = again.next(last=True)
        assert np.array_equal(batch["tokens"], taken[k + 1]["tokens"])


def test_an_error_of_the_loader_is_raised_when_its_batch_is_taken(split: PackedSplit) -> None:
    intact = Placement.of(make_mesh(MeshConfig(data=2, sequence=4)), (2, S), layout="block_cyclic", tile=8)

    def load(indices: NDArray[np.int64]) -> Batch:
        if indices[0] == 1:
            raise DamagedSequence("sequence 1 is damaged")
        return intact.loader(split)(indices)

    with closing(_batches(split, load=load)) as batches:
        batches.next()
        with pytest.raises(DamagedSequence, match="sequence 1"):
            batches.next()
