from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas import parquet_pages
from schemas.parquet_pages import _header, _pages, require_plausible_pages

_TABLE = pa.table({"a": [f"text {n}" for n in range(3000)], "b": [[n, None] for n in range(3000)]})


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip"])
def test_the_sizes_of_pages_are_those_of_the_footer(tmp_path: Path, version: str, compression: str) -> None:
    path = tmp_path / "t.parquet"
    options: dict[str, Any] = {"compression": compression, "data_page_version": version, "data_page_size": 2000}
    pq.write_table(_TABLE, path, **options, row_group_size=1000, write_page_checksum=True, store_schema=False)
    metadata = pq.read_metadata(path)
    with path.open("rb") as stream:
        for group in range(metadata.num_row_groups):
            for index in range(metadata.num_columns):
                chunk = metadata.row_group(group).column(index)
                pages = _pages(stream, chunk)
                assert pages.packed == chunk.total_compressed_size
                headers = chunk.total_uncompressed_size - pages.unpacked  # which the footer counts
                assert 0 < headers < 0.2 * chunk.total_uncompressed_size
                assert 0 < pages.largest < pages.unpacked


def _write_lying(path: Path) -> None:
    """Write a file with a page that declares a million bytes, as the footer does not."""
    pq.write_table(
        pa.table({"a": ["x" * 5000] * 3, "b": [1, 2, 3]}), path, use_dictionary=False, write_statistics=False
    )
    data, actual, false = path.read_bytes(), b"\x15\xd4\xea\x01", b"\x15\x80\x89\x7a"  # 15,018 and 1,000,000
    assert data.count(actual) == 1
    path.write_bytes(data.replace(actual, false))


def test_a_page_that_declares_much_more_than_the_footer_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_pages, "_MAX_UNCHECKED_BYTES", 100_000)
    path = tmp_path / "t.parquet"
    _write_lying(path)
    group = pq.read_metadata(path).row_group(0)
    with path.open("rb") as stream:
        require_plausible_pages(stream, group, ["b"])
        with pytest.raises(pa.ArrowInvalid, match="unpack from .* to 1,000,... bytes, .*: a decompression bomb"):
            require_plausible_pages(stream, group, ["a", "b"])
        monkeypatch.setattr(parquet_pages, "_MAX_RATIO", 1 << 40)
        monkeypatch.setattr(parquet_pages, "_MAX_PAGES_BYTES", 500_000)
        with pytest.raises(pa.ArrowInvalid, match="a page of each column takes 1,000,... bytes of memory"):
            require_plausible_pages(stream, group, ["a", "b"])


@pytest.mark.parametrize("length", [0, 1, 5, 40])
def test_a_header_that_is_cut_or_no_header_is_none(tmp_path: Path, length: int) -> None:
    path = tmp_path / "x"
    for data in (struct.pack("B", 0x15) * length, b"\x5c" * length, b"\x19\xfc" + b"\xff" * length, b"\x1b" * length):
        path.write_bytes(data)
        with path.open("rb") as stream:
            assert _header(stream, 0) is None


def test_a_header_may_be_longer_than_a_block(tmp_path: Path) -> None:
    sizes, statistics = b"\x15\x00\x15\x0a\x15\x0e", b"\x2c\x18\x88\x27" + bytes(5000) + b"\x00"
    (tmp_path / "x").write_bytes(sizes + statistics + b"\x00" + bytes(100))
    with (tmp_path / "x").open("rb") as stream:
        assert _header(stream, 0) == (len(sizes) + len(statistics) + 1, 7, 5)
