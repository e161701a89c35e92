"""Items of single manifest tables, with their sources."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.sources.manifest_tables import table_items
from schemas.errors import ManifestError


def test_each_item_has_the_position_of_its_row(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("uri,title\na.mp4,A\nb.mp4,\n")
    assert [(source, item.uri, item.title) for source, item in table_items(tmp_path / "m.csv")] == [
        (f"{tmp_path}/m.csv, row 1", f"{tmp_path}/a.mp4", "A"),
        (f"{tmp_path}/m.csv, row 2", f"{tmp_path}/b.mp4", None),
    ]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_rows_with_a_text_are_books_and_their_other_columns_are_metadata(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"books.{suffix}"
    row = {"text": "Once upon a time", "title": "A", "year": 1900}
    if suffix == "jsonl":
        path.write_text(json.dumps(row) + "\n" + json.dumps(row))
    else:
        pq.write_table(pa.Table.from_pylist([row, row]), path)
    first, second = (item for _, item in table_items(path))
    assert (first.kind, first.title, first.metadata) == ("book", "A", '{"year": 1900}')
    assert first.uri.startswith(f"{path}#")
    assert second.uri > first.uri


def test_a_parquet_table_of_only_texts_has_one_item_per_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["one", "two", "three"]}), tmp_path / "t.parquet")
    assert len(list(table_items(tmp_path / "t.parquet"))) == 3


def test_a_csv_file_with_texts_is_not_a_table_of_texts(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text\nhello\n")
    with pytest.raises(ManifestError, match="row 1: unknown column 'text'"):
        list(table_items(tmp_path / "t.csv"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a", "kind": "qa"}, "row 2, column 'kind': got 'qa', expected 'book'"),
        ({"text": "a", "uri": "a.txt"}, "row 2: got a 'uri' in a table of texts"),
    ],
)
def test_an_invalid_row_of_a_table_of_texts_is_an_error(tmp_path: Path, row: dict[str, str], message: str) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps({"text": "first"}) + "\n" + json.dumps(row))
    with pytest.raises(ManifestError, match=message):
        list(table_items(tmp_path / "t.jsonl"))
