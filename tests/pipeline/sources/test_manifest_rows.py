"""Conversion of one manifest row to an item."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.sources.manifest_rows import absolute, parse_item
from schemas.errors import ManifestError
from schemas.rows import ManifestItem

BASE = Path("/data")


def test_a_row_with_all_columns_becomes_an_item() -> None:
    row = {
        "uri": "a.mp4", "kind": "video", "captions": ["one", " ", "two"], "transcript": "a.srt", "title": "A",
        "source": "S", "license": "MIT", "split": "val", "metadata": {"b": 1, "a": [2]},
    }  # fmt: skip
    assert parse_item(row, source="m.csv, row 1", base=BASE) == ManifestItem(
        uri="/data/a.mp4", kind="video", captions=("one", "two"), transcript="/data/a.srt", title="A",
        source="S", license="MIT", split="val", metadata='{"a": [2], "b": 1}',
    )  # fmt: skip


def test_the_extension_determines_the_kind_of_a_row_without_one() -> None:
    assert parse_item({"uri": "s3://bucket/a.PNG"}, source="", base=BASE).kind == "image"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"uri": 3}, "m.csv, row 1, column 'uri': got 3, expected a path or a URI"),
        ({"title": 1}, "column 'title': got 1, expected a string"),
        ({"captions": {"en": "a"}}, "column 'captions': .*, expected a string or a list of strings"),
        ({"transcript": "a.doc"}, "expected 'embedded' or a file with the extension .srt or .vtt"),
        ({"metadata": {1, 2}}, "column 'metadata': .*, expected a string or a JSON value"),
        ({"colour": "red"}, "unknown column 'colour'; the columns are uri, kind.* Put custom fields into 'metadata'"),
    ],
)
def test_an_invalid_value_is_an_error_with_its_position(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        parse_item({"uri": "a.mp4"} | changes, source="m.csv, row 1", base=BASE)


def test_a_uri_with_a_scheme_is_absolute_and_a_path_is_relative_to_the_base() -> None:
    assert absolute("https://example.org/../a.mp4", BASE) == "https://example.org/../a.mp4"
    assert absolute("../a.mp4", BASE) == "/a.mp4"
    assert absolute("/b.mp4", BASE) == "/b.mp4"
