from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.dataset import read_card
from schemas.dataset_files import CARD
from schemas.errors import ConfigError, DamagedSequence, DatasetError
from schemas.files import write_text
from schemas.packed import expand
from tests.support.servers.object_servers import ObjectServer
from tests.support.stored_files import index_of
from tests.support.training.training_dataset import VOCABULARY, write_dataset
from trainer.config import MeshConfig
from trainer.data.layout import inverse, permutation
from trainer.data.loader import Batch, Loader, Placement, Window, held_out_batches, training_batches
from trainer.data.order import Order
from trainer.data.shards import PackedSplit
from trainer.mesh import make_mesh

S = 128


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("packed") / "set", context=S, train=8, val=3)


@pytest.fixture(scope="module")
def split(directory: Path) -> PackedSplit:
    return PackedSplit([directory], "train")


def _whole(rows: int) -> Window:
    return Window(rows=np.arange(rows), columns=np.arange(S))


def _loader(split: PackedSplit, *, rows: int = 2) -> Loader:
    return Loader(split, order=np.arange(S), window=_whole(rows))


def _order(sequences: int, *, batch_size: int, seed: int) -> Callable[[int], NDArray[np.int64]]:
    order = Order([sequences], seed=seed)
    return lambda number: order.sequences(number * batch_size, (number + 1) * batch_size)


def test_a_target_is_the_next_token_of_the_document_with_its_weight(split: PackedSplit) -> None:
    batch = _loader(split, rows=1)(np.array([4]))
    tokens, spans = split.read(4)
    inputs = expand(spans, S)
    for i in range(S - 1):
        assert batch["targets"][0, i] == tokens[i + 1]
        assert batch["weights"][0, i] == inputs.weights[i + 1]
        if inputs.segment_ids[i] != inputs.segment_ids[i + 1] or inputs.segment_ids[i] == 0:
            assert batch["weights"][0, i] == 0
    assert batch["weights"][0, -1] == 0
    assert np.count_nonzero(batch["weights"]) > S // 2


def test_attention_over_sequences_makes_each_sequence_one_segment(tmp_path: Path, split: PackedSplit) -> None:
    directory = write_dataset(tmp_path / "set", context=S, train=8)
    card = dataclasses.replace(read_card(directory), attention="sequence")
    write_text(directory / CARD, card.to_json())
    sequence = _loader(PackedSplit([directory], "train"), rows=1)(np.array([2]))
    documents = _loader(split, rows=1)(np.array([2]))
    used = int((documents["segment_ids"] > 0).sum())
    assert documents["segment_ids"].max() > 1
    assert sequence["segment_ids"][0].tolist() == [1] * used + [0] * (S - used)
    assert sequence["positions"][0].tolist() == [*range(used), *[0] * (S - used)]
    for name in ("tokens", "targets", "weights"):
        assert np.array_equal(sequence[name], documents[name]), name


def test_arrays_have_the_documented_types(split: PackedSplit) -> None:
    batch = _loader(split)(np.array([0, -1]))
    types = {name: (array.dtype.name, array.shape) for name, array in batch.items()}
    assert types == {
        name: (kind, (2, S))
        for name, kind in {
            "tokens": "int32",
            "targets": "int32",
            "weights": "float32",
            "segment_ids": "int32",
            "positions": "int32",
        }.items()
    }


@given(st.sets(st.integers(0, 7), min_size=1), st.sampled_from([8, 16]), st.integers(0, 7))
@settings(deadline=None, max_examples=25)
def test_a_host_gets_the_slice_of_its_devices(split: PackedSplit, devices: set[int], stripe: int, index: int) -> None:
    order = permutation("block_cyclic", length=S, devices=8, stripe=stripe)
    whole = Loader(split, order=order, window=_whole(1))(np.array([index]))
    columns = np.flatnonzero(np.isin(np.arange(S) // (S // 8), list(devices)))
    part = Loader(split, order=order, window=Window(rows=np.array([0]), columns=columns))(np.array([index]))
    for name, array in part.items():
        assert np.array_equal(array, whole[name][:, columns]), name


def test_a_host_reads_only_the_bytes_of_its_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    length = 65536
    long = PackedSplit([write_dataset(tmp_path / "long", context=length, train=1, val=0)], "train")
    read: list[int] = []
    pread = os.pread

    def counted(fd: int, size: int, offset: int) -> bytes:
        read.append(size)
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", counted)
    order = permutation("block_cyclic", length=length, devices=8, stripe=512)
    spans_bytes = long.read(0)[1].nbytes
    payload_bytes = length * VOCABULARY.dtype.itemsize
    read.clear()
    Loader(long, order=order, window=Window(rows=np.array([0]), columns=np.arange(length // 8)))(np.array([0]))
    headers_bytes = 8192
    assert sum(read) < payload_bytes / 8 + spans_bytes + headers_bytes
    read.clear()
    Loader(long, order=order, window=Window(rows=np.array([0]), columns=np.arange(length)))(np.array([0]))
    assert len(read) == 1


def test_a_layout_permutes_all_arrays_in_the_same_way(split: PackedSplit) -> None:
    plain = _loader(split)(np.array([1, 2]))
    order = permutation("block_cyclic", length=S, devices=4, stripe=8)
    laid_out = Loader(split, order=order, window=_whole(2))(np.array([1, 2]))
    for name in plain:
        assert np.array_equal(laid_out[name][:, inverse(order)], plain[name]), name


@pytest.mark.parametrize(
    "mesh_config", [MeshConfig(), MeshConfig(data=2, sequence=4), MeshConfig(fsdp=2, tensor=2, sequence=2)]
)
def test_global_arrays_are_sharded_over_the_mesh(split: PackedSplit, mesh_config: MeshConfig) -> None:
    placement = Placement.of(make_mesh(mesh_config), (2, S), layout="block_cyclic", tile=8)
    assert len(placement.window.rows) == 2
    assert len(placement.window.columns) == S
    batch = placement.loader(split)(np.array([3, 6]))
    for name, array in placement.place(batch).items():
        assert array.sharding == placement.sharding
        assert np.array_equal(np.asarray(array), batch[name])
        for shard in array.addressable_shards:
            assert np.array_equal(np.asarray(shard.data), batch[name][shard.index])


def test_a_batch_that_the_mesh_does_not_divide_is_rejected() -> None:
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, sequence=2))
    with pytest.raises(ConfigError, match=r"batch_size = 6 .* data x fsdp = 4 devices: take 4 or 8"):
        Placement.of(mesh, (6, S), layout="block_cyclic", tile=8)
    with pytest.raises(
        ConfigError, match=r"127 tokens cannot be split over 2 devices .* pack at a context of 112 or 128"
    ):
        Placement.of(mesh, (4, 127), layout="block_cyclic", tile=8)


def _take(split: PackedSplit, *, seed: int, batches: int, batch_size: int = 2) -> list[Batch]:
    iterator = training_batches(_loader(split, rows=batch_size), _order(len(split), batch_size=batch_size, seed=seed))
    taken = [next(iterator) for _ in range(batches)]
    iterator.close()
    return taken


def _identify(split: PackedSplit, batches: list[Batch]) -> list[int]:
    known = {split.read(i)[0].astype(np.int32).tobytes(): i for i in range(len(split))}
    return [known[row.tobytes()] for batch in batches for row in batch["tokens"]]


def test_every_epoch_visits_every_sequence_once_in_a_different_order(split: PackedSplit) -> None:
    seen = _identify(split, _take(split, seed=5, batches=12))
    epochs = [seen[0:8], seen[8:16], seen[16:24]]
    assert all(sorted(epoch) == list(range(8)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_batches_from_an_object_store_are_those_from_disk(
    directory: Path, split: PackedSplit, s3: ObjectServer
) -> None:
    there = s3.bucket() / "set"
    for path in directory.iterdir():
        (there / path.name).write(path.read_bytes())
    loaders = [_loader(split), _loader(PackedSplit([there], "train"))]
    assert loaders[1].read_options.prefetch_buffer_size > loaders[0].read_options.prefetch_buffer_size
    iterators = [
        training_batches(loader, _order(len(split), batch_size=2, seed=3), read=loader.read_options)
        for loader in loaders
    ]
    for _ in range(6):
        one, other = map(next, iterators)
        assert all(np.array_equal(one[name], other[name]) for name in one)
    for iterator in iterators:
        iterator.close()


@pytest.mark.parametrize("sequences", [1, 3, 9, 1000])
def test_batches_of_one_sequence_are_infinite_too(split: PackedSplit, sequences: int) -> None:
    def loader(indices: NDArray[np.int64]) -> NDArray[np.int64]:
        return indices

    batches = training_batches(loader, _order(sequences, batch_size=1, seed=0))  # type: ignore[arg-type]
    seen = [int(indices[0]) for indices, _ in zip(batches, range(2 * min(sequences, 50)), strict=False)]
    assert set(seen) <= set(range(sequences))


def test_the_seed_determines_the_order(split: PackedSplit) -> None:
    first, again, other = (_identify(split, _take(split, seed=seed, batches=4)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_restored_iterator_continues_at_the_saved_position(split: PackedSplit) -> None:
    expected = _identify(split, _take(split, seed=3, batches=9))
    iterator = training_batches(_loader(split), _order(len(split), batch_size=2, seed=3))
    for _ in range(5):
        next(iterator)
    state = iterator.get_state()
    iterator.close()
    restored = training_batches(_loader(split), _order(len(split), batch_size=2, seed=3))
    restored.set_state(state)
    rest = [next(restored) for _ in range(4)]
    restored.close()
    assert _identify(split, rest) == expected[10:]


def test_seeking_reads_no_skipped_sequences(split: PackedSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    iterator = training_batches(_loader(split), _order(len(split), batch_size=2, seed=3))
    state = iterator.get_state()
    state["next_index"] = 10_000_000
    reads: list[int] = []
    read = PackedSplit.read

    def counted(self: PackedSplit, index: int, *, ranges: NDArray[np.int64] | None = None) -> object:
        reads.append(index)
        return read(self, index, ranges=ranges)

    monkeypatch.setattr(PackedSplit, "read", counted)
    iterator.set_state(state)
    next(iterator)
    iterator.close()
    assert len(reads) < 16


def test_held_out_data_is_read_once_and_the_last_batch_is_padded(directory: Path) -> None:
    val = PackedSplit([directory], "val")
    batches = list(held_out_batches(_loader(val), indices=np.arange(len(val)), batch_size=2))
    assert _identify(val, [batches[0]]) == [0, 1]
    assert np.array_equal(batches[1]["tokens"][0], val.read(2)[0])
    assert not any(batches[1][name][1].any() for name in batches[1])
    assert len(batches) == 2


@pytest.mark.parametrize("devices", [1, 4])
def test_a_damaged_sequence_ends_the_run_or_becomes_padding(tmp_path: Path, devices: int) -> None:
    directory = write_dataset(tmp_path / "set", context=S)
    entry = index_of(directory)[0]
    intact = PackedSplit([directory], "train")
    order = permutation("block_cyclic", length=S, devices=devices, stripe=8)
    window = Window(rows=np.arange(2), columns=np.arange(S // devices))
    expected = Loader(intact, order=order, window=window)(np.array([1, 0]))
    data = bytearray((directory / entry.url).read_bytes())
    data[1024 + 128 + 2 * (S - 1)] ^= 1  # the last token of the first sequence
    (directory / entry.url).write_bytes(data)
    altered = PackedSplit([directory], "train")
    with pytest.raises(DamagedSequence, match=f"{entry.url}, sequence 0: its bytes were altered"):
        Loader(altered, order=order, window=window)(np.array([1, 0]))
    skipping = Loader(altered, order=order, window=window, skip_damaged=True)
    for _ in range(2):
        batch = skipping(np.array([1, 0]))
        for name, array in batch.items():
            assert np.array_equal(array[0], expected[name][0]), name
            assert not array[1].any(), name
        assert list(skipping.damaged) == [0]


def test_the_iterator_reports_the_path_of_a_shard_truncated_during_reading(tmp_path: Path) -> None:
    directory = write_dataset(tmp_path / "set", context=S)
    split = PackedSplit([directory], "train")
    for shard in directory.glob("train-*.tar"):
        os.truncate(shard, 700)
    iterator = training_batches(_loader(split), _order(len(split), batch_size=2, seed=0))
    with pytest.raises(DatasetError, match=r"train-00000.*truncated"):
        next(iterator)
    iterator.close()
