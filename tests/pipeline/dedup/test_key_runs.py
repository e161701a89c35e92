"""Entries of a partition are read alone, and compared with their checksum, in any storage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.dedup.key_runs import ENTRY, describe_run, read_partition
from schemas.errors import DatasetError
from schemas.storage.location import Location
from tests.support.servers.object_servers import ObjectServer

PARTITION_OF_ENTRIES = np.array([0, 3, 3, 255], np.uint8)
ENTRIES = np.arange(100, 104, dtype=np.uint64)


@pytest.fixture
def written(s3: ObjectServer) -> tuple[Location, NDArray[Any]]:
    """Two runs of entries in a bucket."""
    place = s3.bucket() / "keys.u64"
    place.write(np.concatenate([ENTRIES, ENTRIES + np.uint64(10)]).astype(ENTRY).tobytes())
    runs = [
        describe_run(PARTITION_OF_ENTRIES, entries, start=start)
        for start, entries in ((0, ENTRIES), (4, ENTRIES + np.uint64(10)))
    ]
    return place, np.concatenate(runs)


def test_the_entries_of_a_partition_are_read_from_every_run(written: tuple[Location, NDArray[Any]]) -> None:
    found = {part: [run.tolist() for run in read_partition(*written, part)] for part in (0, 1, 3, 255)}
    assert found == {0: [[100], [110]], 1: [], 3: [[101, 102], [111, 112]], 255: [[103], [113]]}


def test_damaged_and_missing_entries_in_a_bucket_are_errors(written: tuple[Location, NDArray[Any]]) -> None:
    place, runs = written
    data = bytearray(place.read())
    data[8 * 5] ^= 1
    place.write(bytes(data))
    assert [run.tolist() for run in read_partition(place, runs, 0)] == [[100], [110]]
    with pytest.raises(DatasetError, match=rf"{place} is damaged: its checksum does not match"):
        list(read_partition(place, runs, 3))
    place.write(bytes(data[:-8]))
    with pytest.raises(DatasetError, match="cannot be read"):
        list(read_partition(place, runs, 255))
    place.delete()
    with pytest.raises(DatasetError, match="cannot be read"):
        list(read_partition(place, runs, 0))
