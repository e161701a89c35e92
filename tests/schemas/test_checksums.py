from __future__ import annotations

from pathlib import Path

import pytest

from schemas.checksums import DIGEST_BYTES, append_checksum, check_appended, checksum, checksum_in_place, file_checksum
from schemas.errors import DatasetError
from tests.support.bit_flips import flips

DATA = bytes(range(256)) * 5000  # more than one block


def test_a_checksum_is_the_xxh3_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    assert file_checksum(tmp_path / "file") == checksum(DATA) == checksum(memoryview(DATA))
    assert checksum(b"") == "99aa06d3014798d86001c324468d497f"  # of the specification's reference implementation


def test_an_appended_checksum_covers_every_bit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"some values")
    append_checksum(path)
    assert path.read_bytes()[:-DIGEST_BYTES] == b"some values"
    check_appended(path)
    tried = 0
    for _ in flips(path, 1000):
        with pytest.raises(DatasetError, match="file is damaged"):
            check_appended(path)
        tried += 1
    assert tried == 8 * (len(b"some values") + DIGEST_BYTES)


@pytest.mark.parametrize("size", [0, 5, DIGEST_BYTES - 1, DIGEST_BYTES + 3])
def test_a_file_cut_short_does_not_have_its_checksum(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"some values")
    append_checksum(path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DatasetError, match="file is damaged"):
        check_appended(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="gone cannot be read"):
        check_appended(tmp_path / "gone")


@pytest.mark.parametrize("at", [0, 100, len(DATA) - 32])
def test_the_place_of_a_checksum_counts_as_zeros(tmp_path: Path, at: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    with path.open("rb") as f:
        found = checksum_in_place(f, len(DATA), at)
    assert found.decode() == checksum(DATA[:at] + b"0" * 32 + DATA[at + 32 :])
