"""Conversion of rows of tables of texts, whose columns have the meaning that their authors chose."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import Any

import pytest

from pipeline.sources.text_rows import parse_text_row
from schemas.errors import InputError, Reason
from schemas.rows import ManifestItem


def item(**values: Any) -> ManifestItem:
    return parse_text_row({"text": "Once upon a time", **values}, "t.jsonl#byte=000000000000")


def test_columns_of_a_manifest_are_used_and_others_are_metadata() -> None:
    assert item(title="A", source="S", license="MIT", split="val", year=1900) == ManifestItem(
        uri="t.jsonl#byte=000000000000",
        kind="book",
        title="A",
        source="S",
        license="MIT",
        split="val",
        metadata='{"year": 1900}',
    )
    assert item().metadata is None


@pytest.mark.parametrize(
    ("values", "metadata"),
    [
        ({"title": 1984}, {"title": 1984}),
        ({"title": None}, None),
        ({"title": ""}, None),
        ({"title": ["a", "b"]}, {"title": ["a", "b"]}),
        ({"title": "\ud800"}, {"title": "\ud800"}),
        ({"title": "a\0b"}, {"title": "a\0b"}),
        ({"license": 3}, {"license": 3}),
        ({"source": {"name": "x"}}, {"source": {"name": "x"}}),
        ({"captions": [1], "transcript": "spoken words"}, {"captions": [1], "transcript": "spoken words"}),
        ({"kind": "fiction"}, {"kind": "fiction"}),
        ({"kind": 2}, {"kind": 2}),
        ({"kind": "book"}, None),
        ({"id": "7", "score": float("nan")}, {"id": "7", "score": None}),
        ({"image": b"\xff\xd8"}, {"image": "2 bytes"}),
        ({"date": datetime.date(2020, 1, 2), "price": Decimal("1.50")}, {"date": "2020-01-02", "price": "1.50"}),
        ({"metadata": {"a": 1}}, {"a": 1}),
        ({"metadata": '{"a": 1}', "b": 2}, {"a": 1, "b": 2}),
        ({"metadata": {"a": 1}, "a": 2}, {"a": 2}),
        ({"metadata": "free text"}, {"metadata": "free text"}),
        ({"metadata": ["a"]}, {"metadata": ["a"]}),
    ],
)
def test_a_value_that_does_not_fit_its_column_is_kept_as_metadata(values: dict[str, Any], metadata: Any) -> None:
    found = item(**values)
    assert (found.title, found.source, found.license, found.captions, found.reason) == (None, None, None, (), None)
    assert (json.loads(found.metadata) if found.metadata else None) == metadata


@pytest.mark.parametrize(("split", "expected"), [("train[:10%]", "train"), ("validation", "val"), (None, None)])
def test_split_names_of_hugging_face_are_understood(split: str | None, expected: str | None) -> None:
    assert (item(split=split).split, item(split=split).metadata) == (expected, None)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"split": "test"}, "column 'split': got 'test'"),
        ({"split": 1}, "column 'split': got 1"),
        ({"kind": "video"}, "column 'kind': got 'video', expected 'book' for a row with a text"),
        ({"uri": "a.txt"}, "got a 'uri' in a table of texts"),
    ],
)
def test_a_row_that_could_be_held_out_or_another_item_is_an_error(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        item(**values)
    assert caught.value.reason is Reason.INVALID_ROW


def test_columns_that_are_nested_too_deep_are_an_error() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(InputError, match="nested too deep"):
        item(deep=value)
