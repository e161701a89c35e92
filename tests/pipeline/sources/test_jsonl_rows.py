"""Rows of .jsonl files, of which some are broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.sources.jsonl_rows import jsonl_rows
from schemas.errors import ManifestError, Reason


def rows(path: Path, content: bytes, **options: int) -> list[tuple[int, int, dict[str, object] | str]]:
    path.write_bytes(content)
    found = jsonl_rows(path, **options)
    return [(row.position, row.number, str(row.error) if row.error else dict(row.values)) for row in found]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_each_line_is_a_row_with_its_position_and_blank_lines_are_skipped(tmp_path: Path, newline: bytes) -> None:
    lines = [b'{"a": 1}', b"", b" ", b'{"a": 2}']
    size = len(newline)
    assert rows(tmp_path / "a.jsonl", newline.join(lines)) == [(0, 1, {"a": 1}), (9 + 3 * size, 4, {"a": 2})]


def test_a_byte_order_mark_and_padding_are_no_part_of_a_row(tmp_path: Path) -> None:
    assert rows(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"a": 1}\n' + bytes(512)) == [(0, 1, {"a": 1})]
    assert rows(tmp_path / "a.jsonl", b'{"a": 1}' + bytes(512)) == [(0, 1, {"a": 1})]
    assert rows(tmp_path / "a.jsonl", b"") == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{oops", "invalid JSON .*; got b'{oops'"),
        (b'{"a": 1', "invalid JSON"),
        (b'{"a": 1}{"a": 2}', "invalid JSON .*Extra data"),
        (b'{"a": 1}\0', "invalid JSON"),
        (b"[1]", r"expected a JSON object, got b'\[1\]"),
        (b"null", "expected a JSON object, got b'null"),
        (b'"text"', "expected a JSON object"),
        (b"[" * 200_000, "invalid JSON"),
        (b'{"a":' * 200_000, "invalid JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}", "invalid JSON .*4300 digits"),
        (b'{"a": "caf\xe9"}', "byte 18 of the file is not valid UTF-8; got b.*xe9"),
        (b'{"a": "\xed\xa0\x80"}', "byte 15 of the file is not valid UTF-8"),
        (b"\x1b[2J", r"invalid JSON .*; got b'\\x1b\[2J"),
        (b'{"a": "' + b"x" * 2000 + b'"}', "the line has 2,0.. bytes, the limit is 1,000"),
    ],
)
def test_a_broken_line_is_an_error_and_the_others_are_read(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a":1}\n' + line + b'\n{"a":3}\n')
    limit = 1000 if b"xxx" in line else 1 << 30
    first, second, third = jsonl_rows(path, max_line_bytes=limit)
    assert (first.values, third.values) == ({"a": 1}, {"a": 3})
    assert (third.position, third.number) == (8 + len(line) + 1, 3)
    assert second.error is not None
    assert second.error.reason in (Reason.INVALID_ROW, Reason.TOO_LARGE)
    second.error.__str__().encode()
    with pytest.raises(type(second.error), match=message):
        raise second.error
    assert len(str(second.error)) < 600


def test_numbers_that_json_does_not_have_are_read_as_python_reads_them(tmp_path: Path) -> None:
    assert rows(tmp_path / "a.jsonl", b'{"a": Infinity, "b": 1e999}') == [
        (0, 1, {"a": float("inf"), "b": float("inf")})
    ]


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read"):
        list(jsonl_rows(tmp_path))
