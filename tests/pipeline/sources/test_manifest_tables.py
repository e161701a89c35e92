"""Items of single manifest tables, with their sources, and the rejection of invalid rows."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.sources.manifest_tables import table_items
from schemas.errors import ManifestError
from schemas.rows import ManifestItem
from tests.support.inputs.parquet_files import not_utf8


def items(path: Path) -> list[ManifestItem]:
    return [item for _, item in table_items(path)]


def test_each_item_has_the_position_of_its_row(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("uri,title\na.mp4,A\nb.mp4,\n")
    assert [(source, item.uri, item.title) for source, item in table_items(tmp_path / "m.csv")] == [
        (f"{tmp_path}/m.csv, row 1", f"{tmp_path}/a.mp4", "A"),
        (f"{tmp_path}/m.csv, row 2", f"{tmp_path}/b.mp4", None),
    ]
    (tmp_path / "m.jsonl").write_text('{"uri": "a.mp4"}\n\n{"uri": "b.mp4"}\n')
    assert [source for source, _ in table_items(tmp_path / "m.jsonl")] == [
        f"{tmp_path}/m.jsonl, line 1",
        f"{tmp_path}/m.jsonl, line 3",
    ]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_rows_with_a_text_are_books_and_their_other_columns_are_metadata(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"books.{suffix}"
    row = {"text": "Once upon a time", "title": "A", "year": 1900}
    if suffix == "jsonl":
        path.write_text(json.dumps(row) + "\n" + json.dumps(row))
    else:
        pq.write_table(pa.Table.from_pylist([row, row]), path)
    first, second = items(path)
    assert (first.kind, first.title, first.metadata) == ("book", "A", '{"year": 1900}')
    assert first.uri.startswith(f"{path}#")
    assert second.uri > first.uri


def test_a_parquet_table_of_only_texts_has_one_item_per_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["one", "two", "three"]}), tmp_path / "t.parquet")
    assert len(items(tmp_path / "t.parquet")) == 3


def test_the_first_row_with_a_uri_or_a_text_decides_what_a_table_lists(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{oops\n{"title": "A"}\n{"text": "B"}\n{"title": "C", "text": null}\n')
    assert [(item.kind, item.reason) for item in items(tmp_path / "t.jsonl")] == [
        ("book", "invalid_row"),
        ("book", None),  # the survey rejects it, as it has no text
        ("book", None),
        ("book", None),
    ]


GOOD = {"uri": "good.mp4", "title": "Good"}
BAD_ROWS = [
    ({"uri": "a.mp4", "licence": "MIT"}, r"unknown column 'licence'; did you mean 'license'\?"),
    ({"kind": "video"}, "column 'uri': got None, expected a path"),
    ({"uri": ""}, "column 'uri': got '', expected a path"),
    ({"uri": ["a.mp4"]}, r"column 'uri': got \['a.mp4'\], expected a path"),
    ({"uri": "a\0.mp4"}, "expected text without a NUL"),
    ({"uri": "\ud800.mp4"}, "column 'uri'.*text that is valid UTF-8"),
    ({"uri": "a.xyz"}, "column 'kind': got None, expected one of video, image, book"),
    ({"uri": "a.mp4", "kind": "film"}, "column 'kind': got 'film'"),
    ({"uri": "a.mp4", "kind": 7}, "column 'kind': got 7"),
    ({"uri": "a.mp4", "split": "test"}, "column 'split': got 'test', expected one of train, val"),
    ({"uri": "a.mp4", "split": 0}, "column 'split': got 0"),
    ({"uri": "a.mp4", "captions": [1]}, r"column 'captions': got \[1\], expected a string or a list"),
    ({"uri": "a.mp4", "captions": "\ud800"}, "column 'captions'.*text that is valid UTF-8"),
    ({"uri": "a.mp4", "transcript": "a.doc"}, "column 'transcript': got 'a.doc'"),
    ({"uri": "a.mp4", "transcript": 4}, "column 'transcript': got 4"),
    ({"uri": "a.mp4", "title": 1984}, "column 'title': got 1984, expected a string"),
    ({"uri": "a.mp4", "title": "\ud800"}, "column 'title'.*text that is valid UTF-8"),
    ({"uri": "a.mp4", "source": {"name": "x"}}, "column 'source': got {'name': 'x'}"),
    ({"uri": "a.mp4", "license": 1.5}, "column 'license': got 1.5"),
    ({"uri": "a.mp4", "title": "x" * 10, "metadata": "\ud800"}, "column 'metadata'.*valid UTF-8"),
]


@pytest.mark.parametrize(("row", "message"), BAD_ROWS)
def test_an_invalid_row_is_rejected_with_its_position_column_and_value(
    tmp_path: Path, row: dict[str, object], message: str
) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(map(json.dumps, [GOOD, row, {"uri": "last.mp4"}])))
    first, bad, last = items(path)
    assert (first.title, first.reason, last.reason) == ("Good", None, None)
    assert (bad.reason, bad.title, bad.license) == ("invalid_row", None, None)
    assert bad.detail is not None
    assert bad.detail.startswith(f"{path}, line 2: ")
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(bad.detail)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.jsonl", b'{"uri": "a.mp4"}\n{oops\n{"uri": "b.mp4"}'),
        ("m.jsonl", b'{"uri": "a.mp4"}\n{"uri": "caf\xe9.mp4"}\n{"uri": "b.mp4"}'),
        ("m.jsonl", b'{"uri": "a.mp4"}\n[1]\n{"uri": "b.mp4"}'),
        ("m.csv", b"uri,title\na.mp4,A\nx.mp4,caf\xe9\nb.mp4,B\n"),
        ("m.csv", b"uri,title\na.mp4,A\nx.mp4,A,B\nb.mp4,B\n"),
        ("m.csv", b'uri,title\na.mp4,A\nx.mp4,"A\nb.mp4,B\n'),
        ("m.csv", b"uri,title\na.mp4,A\nx\0.mp4,A\nb.mp4,B\n"),
        ("m.csv", codecs.BOM_UTF16_LE + "uri,title\r\na.mp4,A\r\nx.mp4\r\nb.mp4,B\r\n".encode("utf-16-le")),
    ],
)
def test_one_broken_row_of_a_table_is_rejected(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    found = items(tmp_path / name)
    assert [item.reason for item in found] == [None, "invalid_row", None]
    assert [Path(item.uri).name for item in found[::2]] == ["a.mp4", "b.mp4"]


def test_a_row_of_a_parquet_manifest_that_is_not_utf8_is_rejected(tmp_path: Path) -> None:
    titles = not_utf8([b"A", b"caf\xe9", b"B"])
    pq.write_table(pa.table({"uri": ["a.mp4", "x.mp4", "b.mp4"], "title": titles}), tmp_path / "m.parquet")
    found = items(tmp_path / "m.parquet")
    assert [(Path(item.uri).name, item.kind, item.reason) for item in found] == [
        ("a.mp4", "video", None),
        ("x.mp4", "video", "invalid_row"),
        ("b.mp4", "video", None),
    ]


def test_a_rejected_row_without_a_uri_has_the_address_of_the_row(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("uri,title\n,A\na.mp4,A\n")
    assert items(tmp_path / "m.csv")[0].uri == f"{tmp_path}/m.csv#row=00000000"
    (tmp_path / "m.jsonl").write_text('{"uri": "a.mp4"}\n{oops')
    assert items(tmp_path / "m.jsonl")[1].uri == f"{tmp_path}/m.jsonl#byte=000000000017"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a", "kind": "qa"}, "line 2: column 'kind': got 'qa', expected 'book'"),
        ({"text": "a", "uri": "a.txt"}, "line 2: got a 'uri' in a table of texts"),
        ({"text": "a", "split": "test"}, "line 2: column 'split': got 'test'"),
    ],
)
def test_an_invalid_row_of_a_table_of_texts_is_rejected(tmp_path: Path, row: dict[str, str], message: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(map(json.dumps, [{"text": "first"}, row, {"text": "last"}])))
    first, bad, last = items(path)
    assert (first.reason, bad.reason, last.reason) == (None, "invalid_row", None)
    assert message in (bad.detail or "")
    assert (bad.kind, bad.uri) == ("book", f"{path}#byte=000000000018")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.jsonl", b"{oops", "no line is a JSON object with 'uri' or 'text'; line 1: invalid JSON"),
        ("m.jsonl", b"[" * 100_000, "line 1: invalid JSON"),
        ("m.jsonl", b"[1]", "line 1: expected a JSON object"),
        ("m.jsonl", b'{"title": "A"}', "line 1: got the columns 'title'"),
        ("m.jsonl", b"{}", "line 1: got the columns of an empty object"),
        ("m.jsonl", '{"uri": "a.mp4"}\n'.encode("utf-16"), "no line is a JSON object"),
        ("m.csv", b"", "it has no header"),
        ("m.csv", b"title\nA\n", "has no column 'uri'; its columns are 'title'"),
        ("m.csv", b"uri;title\na.mp4;A\n", "has no column 'uri'; its columns are 'uri;title'"),
        ("m.csv", b"text\nhello\n", "has no column 'uri'; its columns are 'text'"),
        ("m.csv", b"uri,licence\na.mp4,A\n", r"unknown column 'licence'; did you mean 'license'\?"),
        ("m.parquet", b"", "not a readable Parquet"),
        ("m.parquet", b"PAR1 is not enough", "not a readable Parquet"),
    ],
)
def test_a_file_that_is_no_table_is_an_error(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError, match=message):
        items(tmp_path / name)


def test_a_parquet_file_without_a_known_column_is_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"title": ["A"]}), tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match="has no column 'uri'; its columns are 'title'"):
        items(tmp_path / "m.parquet")


@pytest.mark.parametrize("name", ["m.jsonl", "m.csv", "m.parquet"])
def test_a_table_without_rows_has_no_items(tmp_path: Path, name: str) -> None:
    if name == "m.parquet":
        pq.write_table(pa.table({"uri": pa.array([], pa.string())}), tmp_path / name)
    else:
        (tmp_path / name).write_text("uri\n" if name == "m.csv" else "")
    assert items(tmp_path / name) == []
