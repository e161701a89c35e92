"""Conversion of one manifest row to an item."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.sources.manifest_rows import (
    UNKNOWN_KIND,
    parse_item,
    parse_split,
    rejected_item,
    require_known_columns,
)
from schemas.errors import InputError, Reason
from schemas.rows import ManifestItem

BASE = Path("/data")


def test_a_row_with_all_columns_becomes_an_item() -> None:
    row = {
        "uri": "a.mp4", "kind": "video", "captions": ["one", " ", "two"], "transcript": "a.srt", "title": "A",
        "caption_file": "a.txt", "transcript_language": "eng", "source": "S",
        "license": "MIT", "split": "val", "metadata": {"b": 1, "a": [2]},
    }  # fmt: skip
    assert parse_item(row, base=BASE) == ManifestItem(
        uri="/data/a.mp4", kind="video", captions=("one", "two"), transcript="/data/a.srt", title="A",
        caption_file="/data/a.txt", transcript_language="en", source="S",
        license="MIT", split="val", metadata='{"a": [2], "b": 1}',
    )  # fmt: skip


def test_the_extension_determines_the_kind_of_a_row_without_one() -> None:
    assert parse_item({"uri": "s3://bucket/a.PNG"}, base=BASE).kind == "image"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"uri": 3}, "column 'uri': got 3, expected a path or a URI"),
        ({"uri": None}, "column 'uri': got None, expected a path or a URI"),
        ({"uri": "a\0.mp4"}, r"column 'uri': got 'a\\x00.mp4', expected text without a NUL"),
        ({"uri": "\ud800.mp4"}, r"column 'uri': got '\\ud800.mp4', expected text that is valid UTF-8"),
        ({"uri": "a.xyz"}, "column 'kind': got None, expected one of video, image, book"),
        ({"kind": ["video"]}, "column 'kind': got .*, expected one of"),
        ({"title": 1}, "column 'title': got 1, expected a string"),
        ({"title": ["x" * 9999]}, r"xxx\.\.\., expected a string"),
        ({"title": "\x1b[2J\ud800"}, r"got '\\x1b\[2J\\ud800', expected text that is valid UTF-8"),
        ({"source": {"name": "x"}}, "column 'source': got {'name': 'x'}, expected a string"),
        ({"license": b"MIT"}, "column 'license': got b'MIT', expected a string"),
        ({"captions": {"en": "a"}}, "column 'captions': .*, expected a string or a list of strings"),
        ({"captions": ["a", None]}, "column 'captions': .*, expected a string or a list of strings"),
        ({"transcript": "a.doc"}, "expected 'embedded' or a file with an extension of .srt, .vtt, .ass"),
        ({"caption_file": ["a.txt"]}, "column 'caption_file': .*, expected a string"),
        ({"transcript_language": "klingon"}, "expected a language tag such as en, eng or pt-BR"),
        ({"metadata": {1, 2}}, "column 'metadata': .*, expected a string or a JSON value"),
        ({"split": "test"}, "column 'split': got 'test', expected one of train, val, validation, or null"),
        ({"colour": "red"}, "unknown column 'colour'; the columns are uri, kind.* Put custom fields into 'metadata'"),
        ({"reason": "x"}, "unknown column 'reason'"),
    ],
)
def test_an_invalid_value_is_an_error_with_its_column(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_item({"uri": "a.mp4"} | changes, base=BASE)
    assert caught.value.reason is Reason.INVALID_ROW
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", "train"),
        ("val", "val"),
        ("validation", "val"),
        ("train[:10%]", "train"),
        ("train[50:100]", "train"),
        ("validation[-5:]", "val"),
        ("", None),
        (None, None),
    ],
)
def test_split_names_of_hugging_face_are_understood(split: str | None, expected: str | None) -> None:
    assert parse_split({"split": split}) == expected


@pytest.mark.parametrize("split", ["test", "test[:10%]", "Train", "train+validation", 0, 1, True, ["train"], {}])
def test_an_unknown_split_is_an_error(split: object) -> None:
    with pytest.raises(InputError, match="column 'split': got .*, expected one of train, val, validation, or null"):
        parse_split({"split": split})


ERROR = InputError(Reason.INVALID_ROW, "m.csv, row 1: no")


@pytest.mark.parametrize(
    ("values", "uri", "kind"),
    [
        ({"uri": "a.mp4", "title": 1}, "/data/a.mp4", "video"),
        ({"uri": "a", "kind": "qa", "title": 1}, "/data/a", "qa"),
        ({"uri": "a.xyz"}, "/data/a.xyz", UNKNOWN_KIND),
        ({"uri": "a\0"}, "m.csv#row=00000000", UNKNOWN_KIND),
        ({"uri": 3}, "m.csv#row=00000000", UNKNOWN_KIND),
        ({}, "m.csv#row=00000000", UNKNOWN_KIND),
    ],
)
def test_a_rejected_item_keeps_the_uri_and_kind_of_its_row(values: dict[str, object], uri: str, kind: str) -> None:
    item = rejected_item(values, ERROR, base=BASE, address="m.csv#row=00000000", is_text=False)
    assert (item.uri, item.kind, item.reason, item.detail) == (uri, kind, "invalid_row", "m.csv, row 1: no")


def test_a_rejected_text_has_the_address_of_its_row() -> None:
    item = rejected_item({"uri": "a.txt"}, ERROR, base=BASE, address="t.jsonl#byte=000000000000", is_text=True)
    assert (item.uri, item.kind) == ("t.jsonl#byte=000000000000", "book")


def test_the_nearest_column_is_suggested() -> None:
    require_known_columns(["uri", "kind", "metadata"])
    with pytest.raises(InputError, match=r"unknown column 'licence'; did you mean 'license'\?"):
        require_known_columns(["uri", "licence"])


def test_a_caption_file_and_a_transcript_may_have_an_address_with_a_query() -> None:
    addresses = {"caption_file": "https://host/a?id=1", "transcript": "https://host/a.EN.VTT?token=a.b#c"}
    item = parse_item({"uri": "a.mp4"} | addresses, base=BASE)
    assert {"caption_file": item.caption_file, "transcript": item.transcript} == addresses


def test_a_uri_with_a_scheme_is_absolute_and_a_path_is_relative_to_the_base() -> None:
    uris = ("https://example.org/../a.mp4", "../a.mp4", "/b.mp4")
    found = [parse_item({"uri": uri}, base=BASE).uri for uri in uris]
    assert found == ["https://example.org/../a.mp4", "/a.mp4", "/b.mp4"]


@pytest.mark.parametrize("column", ["uri", "transcript", "caption_file", "title", "captions", "metadata"])
def test_a_value_that_is_longer_than_any_real_one_costs_its_row_and_is_not_quoted_as_a_whole(column: str) -> None:
    values = {"uri": "a.mp4", column: "x" * ((1 << 24) + 1)}
    with pytest.raises(InputError, match=f"column {column!r}: got 'x+.*, expected at most [0-9,]+ characters") as e:
        parse_item(values, base=Path("/videos"))
    assert len(str(e.value)) < 500
    rejected = rejected_item(values, e.value, base=Path("/videos"), address="/m.jsonl#0", is_text=False)
    assert rejected.uri == ("/m.jsonl#0" if column == "uri" else "/videos/a.mp4")
