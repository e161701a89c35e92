"""Rows of .csv files: quotes, ragged rows, encodings."""

from __future__ import annotations

import codecs
import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sources.csv_rows import csv_rows
from schemas.errors import ManifestError, Reason


def rows(path: Path, content: bytes) -> list[dict[str, object] | str]:
    path.write_bytes(content)
    return [str(row.error) if row.error else dict(row.values) for row in csv_rows(path)]


TEXT = "uri,title\na.mp4,Caf\u00e9\nb.mp4,\n"
READ = [{"uri": "a.mp4", "title": "Caf\u00e9"}, {"uri": "b.mp4", "title": None}]


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        TEXT.rstrip().encode(),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        TEXT.replace("\n", "\n\n").encode(),
        TEXT.encode() + bytes(512),
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
    ],
)
def test_every_form_of_a_file_gives_the_same_rows(tmp_path: Path, content: bytes) -> None:
    assert rows(tmp_path / "m.csv", content) == READ


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (b"a,b,c", "the row has 3 fields, the header has 2"),
        (b"a", "the row has 1 field, the header has 2"),
        (b'"a"x,b', "',' expected after '\"'"),
        (b'"a,b', "',' expected after '\"'"),
        (b'a,"b', "',' expected after '\"'"),
        (b"x" * 140_000 + b",b", "field larger than field limit"),
    ],
)
def test_a_row_of_another_form_costs_only_itself(tmp_path: Path, row: bytes, message: str) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(b"uri,title\na.mp4,A\n" + row + b'\nb.mp4,B\nc.mp4,"C, c"\n')
    first, second, *others = csv_rows(path)
    assert first.values == {"uri": "a.mp4", "title": "A"}
    assert [other.values for other in others] == [
        {"uri": "b.mp4", "title": "B"},
        {"uri": "c.mp4", "title": "C, c"},
    ]
    assert [other.number for other in others] == [3, 4]
    assert second.error is not None
    assert second.error.reason is Reason.INVALID_ROW
    with pytest.raises(type(second.error), match=message):
        raise second.error


def test_bytes_that_are_not_utf8_are_found_by_their_row(tmp_path: Path) -> None:
    assert rows(tmp_path / "m.csv", b"uri,title\na.mp4,caf\xe9\nb.mp4,B\n") == [
        {"uri": "a.mp4", "title": "caf\udce9"},
        {"uri": "b.mp4", "title": "B"},
    ]


def test_captions_may_be_a_list(tmp_path: Path) -> None:
    content = b'uri,captions\na,"[""one"", ""two""]"\nb,[music]\nc,"[""one"","\n'
    first, second, third = rows(tmp_path / "m.csv", content)
    assert (first, second) == ({"uri": "a", "captions": ["one", "two"]}, {"uri": "b", "captions": "[music]"})
    assert "column 'captions' is not a JSON list" in str(third)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize(
    "long", [b"," * 5_000, b'"x",' * 2_000, b'"\n",' * 2_000 + b"y"], ids=["commas", "fields", "lines"]
)
def test_a_row_that_is_too_long_costs_that_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long: bytes, newline: bytes
) -> None:
    monkeypatch.setattr("pipeline.sources.csv_rows._MAX_CHARS", 3_000)
    monkeypatch.setattr("pipeline.sources.csv_rows._BLOCK_CHARS", 100)
    found = rows(tmp_path / "m.csv", newline.join([b"uri,title", b"a,A", b"b," + long, b"c,C", b""]))
    assert found[0] == {"uri": "a", "title": "A"}
    assert "the row has more than 3,000 characters" in str(found[1])
    assert found[-1] == {"uri": "c", "title": "C"}


def test_a_header_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="not a readable CSV file: the row has more than"):
        rows(tmp_path / "m.csv", bytes(8 << 20))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable CSV file: it has no header"),
        (b"\n\n", "it has no header"),
        (b"uri,uri\n", "the column 'uri' occurs twice"),
        (b'uri,"title\n', "not a readable CSV file: unexpected end of data"),
        (codecs.BOM_UTF16_LE + b"u\0r", "not a readable CSV file: .*utf-16-le"),
    ],
)
def test_a_file_without_a_header_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        rows(tmp_path / "m.csv", content)


fields = st.text(st.sampled_from('ab,"\n\r \u00e9'), max_size=6)


@given(table=st.lists(st.tuples(fields, fields.filter(bool)), max_size=8))
@settings(deadline=None, max_examples=60)
def test_what_the_csv_module_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str]]
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("uri", "title"), *table])
    read = rows(tmp_path_factory.getbasetemp() / "m.csv", text.getvalue().encode())
    assert read == [{"uri": uri or None, "title": title or None} for uri, title in table]
