from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from schemas.errors import DamagedSequence
from schemas.shards import remote
from schemas.shards.index import checksum_at
from schemas.shards.ranged import SequenceFile
from schemas.shards.remote import RemoteSequence, open_sequence
from schemas.storage.location import Location, located
from tests.support.servers.object_servers import ObjectServer
from tests.support.stored_files import index_of
from tests.support.training.training_dataset import VOCABULARY, write_dataset

S, THIRD = 4096, 2  # context length; the sequence of the shard that is read
RANGES = np.array([[0, 16], [700, 1000], [4000, S]])


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("packed") / "set", context=S, train=3, val=0)


@pytest.fixture
def shard(directory: Path, s3: ObjectServer) -> Location:
    """A shard in S3."""
    (entry,) = index_of(directory)
    place = s3.bucket() / entry.url
    place.write((directory / entry.url).read_bytes())
    return place


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the ranges that are requested."""
    made: list[int] = []
    plain = Location.read_range

    def counted(place: Location, start: int, length: int) -> bytes:
        made.append(length)
        return plain(place, start, length)

    monkeypatch.setattr(Location, "read_range", counted)
    return made


def sequence_of(directory: Path, place: Location) -> SequenceFile:
    (entry,) = index_of(directory)
    start, end = entry.offsets[THIRD : THIRD + 2]
    return open_sequence(place, start, end, "here", checksum=checksum_at(entry.checksums, THIRD))


def read(sequence: SequenceFile) -> tuple[bytes, bytes]:
    tokens, end = sequence.tokens(VOCABULARY.dtype, S, RANGES)
    return tokens.tobytes(), sequence.spans(end).tobytes()


def test_parts_are_those_of_the_local_file(directory: Path, shard: Location, requests: list[int]) -> None:
    with sequence_of(directory, located(directory / shard.name)) as local:
        expected = read(local)
    with sequence_of(directory, shard) as sequence:
        assert isinstance(sequence, RemoteSequence)
        sequence.request(VOCABULARY.dtype, S, RANGES)
        wave = len(requests)
        assert read(sequence) == expected
        assert len(requests) == wave == len(RANGES) + 2
        assert sum(requests) < 2 * S * VOCABULARY.dtype.itemsize
        sequence.fetch()
        assert read(sequence) == expected


def test_parts_that_were_not_requested_before_are_requested_when_they_are_read(
    directory: Path, shard: Location
) -> None:
    with sequence_of(directory, located(directory / shard.name)) as local, sequence_of(directory, shard) as sequence:
        assert read(sequence) == read(local)


def test_a_long_read_is_divided(
    directory: Path, shard: Location, requests: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_PART_BYTES", 1000)
    with sequence_of(directory, shard) as sequence:
        sequence.fetch()
    assert max(requests) == 1000
    assert len(requests) > 8


def test_a_missing_truncated_or_altered_shard_is_damage(directory: Path, shard: Location) -> None:
    data = shard.read()
    cases = [
        (data[:-20_000], "truncated"),
        (data.replace(b"\1", b"\2"), "altered"),
        (None, "cannot be read: (?i:no such)"),
    ]
    for content, what in cases:
        shard.write(content) if content is not None else shard.delete()
        with pytest.raises(DamagedSequence, match=f"here: .*{what}"), sequence_of(directory, shard) as sequence:
            sequence.fetch()
