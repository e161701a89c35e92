from __future__ import annotations

from pathlib import Path

from schemas.errors import DatasetError
from tests.faults.outcomes import Outcomes, flip_bits


def test_outcomes_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"ab")

    def read() -> object:
        first, second = path.read_bytes()
        if first > ord("a"):
            raise DatasetError(f"{path} is damaged")
        if first < ord("a") - 32:
            raise DatasetError("something is damaged")
        if first < ord("a"):
            raise KeyError(first)
        return second & 1

    found = flip_bits("letters", [path], read, count=100)
    assert path.read_bytes() == b"ab"
    assert (found.tried, found.unchanged, found.named) == (16, 7, 5)
    assert len(found.wrong) == 4
    assert sum("KeyError" in what for what in found.wrong) == 2
    assert sum("no name in something" in what for what in found.wrong) == 1
    assert sum("another value" in what for what in found.wrong) == 1
    assert Outcomes.total([found, found]).tried == 32
