from __future__ import annotations

import io

import numpy as np

from schemas.storage.reader import RangedReader

_DATA = np.random.default_rng(0).bytes(3_000_001)


def _reader(requests: list[tuple[int, int]]) -> io.BufferedReader:
    def fetch(start: int, length: int) -> bytes:
        requests.append((start, length))
        return _DATA[start : start + length]

    return io.BufferedReader(RangedReader(fetch, len(_DATA)))


def test_reads_at_random_places_return_the_bytes_of_the_file() -> None:
    generator = np.random.default_rng(1)
    stream, plain = _reader([]), io.BytesIO(_DATA)
    for _ in range(300):
        at, length = int(generator.integers(0, len(_DATA) + 10)), int(generator.integers(0, 200_000))
        assert stream.seek(at) == plain.seek(at) == at
        assert stream.read(length) == plain.read(length)
    assert stream.seek(-5, io.SEEK_END) == len(_DATA) - 5
    assert stream.read() == _DATA[-5:]


def test_a_file_that_is_read_in_order_takes_few_requests() -> None:
    requests: list[tuple[int, int]] = []
    stream = _reader(requests)
    assert b"".join(iter(lambda: stream.read(10_000), b"")) == _DATA
    assert len(requests) < 10
    assert sum(length for _, length in requests) == len(_DATA)


def test_opening_and_seeking_fetch_nothing() -> None:
    requests: list[tuple[int, int]] = []
    stream = _reader(requests)
    stream.seek(0, io.SEEK_END)
    assert stream.tell() == len(_DATA)
    assert requests == []
