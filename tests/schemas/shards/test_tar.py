from __future__ import annotations

import io
import tarfile

import pytest

from schemas.shards.tar import BLOCK, end_of_archive, member, member_header, parse_header


def test_tarfile_reads_what_is_written() -> None:
    members = {"a.bin": b"x" * 700, "b.bin": b"", "c.bin": b"y" * BLOCK}
    data = b"".join(member(name, content) for name, content in members.items())
    archive = data + end_of_archive(len(data))
    assert len(archive) % 10240 == 0
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        found = {info.name: tar.extractfile(info) for info in tar}
        assert {name: file.read() for name, file in found.items() if file} == members


@pytest.mark.parametrize("size", [0, 1, 511, 512, (1 << 33) - 1])
def test_parse_header_is_the_inverse_of_member_header(size: int) -> None:
    assert parse_header(member_header("train-000000000.tokens.npy", size)) == ("train-000000000.tokens.npy", size)


@pytest.mark.parametrize(("name", "size"), [("n" * 101, 1), ("name", -1), ("name", 1 << 33)])
def test_a_member_that_ustar_cannot_describe_is_an_error(name: str, size: int) -> None:
    with pytest.raises(ValueError, match="cannot be a USTAR member"):
        member_header(name, size)


@pytest.mark.parametrize("field", [b"-0000000001\0", b"+0000000001\0", b"1_000000000\0", b"00000000009\0", bytes(12)])
def test_a_size_that_is_not_octal_is_rejected(field: bytes) -> None:
    header = bytearray(member_header("name", 1))
    header[124:136] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    with pytest.raises(ValueError, match="octal|invalid literal"):
        parse_header(bytes(header))


@pytest.mark.parametrize("block", [b"", bytes(BLOCK), b"\xff" * BLOCK, member_header("name", 1)[:300]])
def test_blocks_that_are_not_headers_are_rejected(block: bytes) -> None:
    with pytest.raises(ValueError, match="no USTAR header|bad checksum"):
        parse_header(block)


@pytest.mark.parametrize("name", ["a", "~" * 100, "train-000000000.tokens.npy", "\x7f" * 100])
def test_the_checksum_is_the_sum_of_all_bytes(name: str) -> None:
    header = member_header(name, 0o77777777777 >> 1)
    assert int(header[148:154], 8) == sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
    assert parse_header(header)[0] == name


def test_bytes_that_are_not_ascii_are_summed() -> None:
    header = bytearray(member_header("name", 1))
    header[:99] = b"\xff" * 99
    with pytest.raises(ValueError, match="bad checksum"):
        parse_header(bytes(header))
