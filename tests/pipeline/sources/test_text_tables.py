"""Tables in which each row is a book: listing, reading, and invalid rows."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.sources.inputs import local_file, stat
from pipeline.sources.manifest import read_manifest
from pipeline.sources.text_tables import parse_row_uri, row_address
from schemas.errors import InputError, Reason
from schemas.rows import manifest_table
from tests.support.inputs.parquet_files import damage_row_group, not_utf8
from tests.support.texts import story

TEXTS = [story(n, 3) for n in range(7)]


@pytest.fixture(params=["jsonl", "parquet"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    rows = [
        {"text": text, "title": f"Story {n}", "license": "CC0-1.0", "id": n, "lang": "en"}
        for n, text in enumerate(TEXTS)
    ]
    path = tmp_path / f"books.{request.param}"
    if request.param == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows[:3]) + "\n\n" + "\n".join(map(json.dumps, rows[3:])))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=3)
    return path


def text_of(uri: str, max_bytes: int = 1 << 20) -> str:
    with local_file(uri, max_bytes=max_bytes) as path:
        return path.read_text()


def outcome(uri: str) -> str:
    """Return the text of a row, or the reason for its rejection."""
    try:
        return text_of(uri)
    except InputError as e:
        return e.reason.value


def test_each_row_is_a_book_with_its_own_uri(table: Path) -> None:
    items = manifest_table(read_manifest([str(table)]).items).to_pylist()
    assert [(item["kind"], item["title"], item["license"]) for item in items] == [
        ("book", f"Story {n}", "CC0-1.0") for n in range(7)
    ]
    assert json.loads(items[3]["metadata"]) == {"id": 3, "lang": "en"}
    assert [text_of(item["uri"]) for item in items] == TEXTS
    assert [text_of(item["uri"]) for item in reversed(items)] == TEXTS[::-1]
    assert stat(items[0]["uri"]) == stat(str(table))
    (listed,) = (table.parent / "m.jsonl",)
    listed.write_text(json.dumps({"uri": items[2]["uri"], "kind": "book"}))
    assert text_of(read_manifest([str(listed)]).items[0].uri) == TEXTS[2]


def test_missing_and_unreadable_rows_have_a_reason(table: Path) -> None:
    uris = [item.uri for item in read_manifest([str(table)]).items]

    def reason(uri: str, max_bytes: int = 1 << 20) -> Reason:
        with pytest.raises(InputError) as caught:
            text_of(uri, max_bytes)
        return caught.value.reason

    assert reason(uris[0], 100) is Reason.TOO_LARGE
    assert reason(f"{table}#row=00000099") in (Reason.MISSING, Reason.UNREADABLE)
    assert reason(f"{table}#byte=000000000003") in (Reason.UNREADABLE, Reason.MISSING)
    text = table.read_bytes()
    table.unlink()
    assert reason(uris[0]) is Reason.MISSING
    table.write_bytes(text[: len(text) // 3])
    assert reason(uris[6]) in (Reason.MISSING, Reason.UNREADABLE)


def test_rows_of_a_changed_table_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": TEXTS[:3]}), path)
    assert text_of(row_address(str(path), 0)) == TEXTS[0]
    pq.write_table(pa.table({"text": TEXTS[3:7]}), path)
    assert text_of(row_address(str(path), 1)) == TEXTS[4]
    assert len(read_manifest([str(path)]).items) == 4  # a table with the column text only


@pytest.mark.parametrize("row", [{"text": None}, {"text": 5}, {"text": "\ud800"}, {"text": ""}])
def test_row_without_a_text_does_not_affect_other_rows(tmp_path: Path, row: dict[str, object]) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(r) for r in ({"text": TEXTS[0]}, row)))
    first, second = [item.uri for item in read_manifest([str(tmp_path / "a.jsonl")]).items]
    assert text_of(first) == TEXTS[0]
    if row["text"] == "":
        assert text_of(second) == ""
    else:
        with pytest.raises(InputError) as caught:
            text_of(second)
        assert caught.value.reason in (Reason.UNREADABLE, Reason.NOT_TEXT)


def test_rows_that_are_not_utf8_do_not_affect_other_rows(tmp_path: Path) -> None:
    texts = [TEXTS[0].encode(), b"caf\xe9", TEXTS[1].encode(), None, TEXTS[2].encode()]
    for name, string in (("a", pa.string()), ("b", pa.large_string())):
        pq.write_table(pa.table({"text": not_utf8(texts, string)}), tmp_path / f"{name}.parquet")
        uris = [item.uri for item in read_manifest([str(tmp_path / f"{name}.parquet")]).items]
        assert [outcome(uri) for uri in uris] == [TEXTS[0], "not_text", TEXTS[1], "unreadable", TEXTS[2]]
        assert [outcome(uri) for uri in reversed(uris)] == [TEXTS[2], "unreadable", TEXTS[1], "not_text", TEXTS[0]]
    lines = [
        json.dumps({"text": TEXTS[0]}).encode(),
        b'{"text": "caf\xe9"}',
        b'{"text": "\xed\xa0\x80"}',
        b'{"text": "b"}',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines) + bytes(100))
    items = read_manifest([str(tmp_path / "a.jsonl")]).items
    assert [item.reason or outcome(item.uri) for item in items] == [TEXTS[0], "invalid_row", "invalid_row", "b"]


def test_texts_that_are_stored_as_a_dictionary_are_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array(["a", "b", "a"]).dictionary_encode()}), tmp_path / "a.parquet")
    assert [outcome(item.uri) for item in read_manifest([str(tmp_path / "a.parquet")]).items] == ["a", "b", "a"]


def test_a_damaged_row_group_costs_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": TEXTS[:6]}), path, row_group_size=2)
    damage_row_group(path, 1)
    found = [outcome(item.uri) for item in read_manifest([str(path)]).items]
    assert found == [*TEXTS[:2], "unreadable", "unreadable", *TEXTS[4:6]]


def test_only_uris_of_rows_are_parsed_as_rows() -> None:
    assert parse_row_uri("s3://a/b.parquet#row=00000007") == ("s3://a/b.parquet", "row", 7)
    for other in ("a.txt#row=1", "a.parquet", "a.parquet#row=x", "a.jsonl#line=4", "#row=1"):
        assert parse_row_uri(other) is None


def test_a_row_that_the_footer_declares_and_the_file_does_not_have_is_unreadable(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [f"text {n}" for n in range(300)]}), tmp_path / "t.parquet")
    data = (tmp_path / "t.parquet").read_bytes()
    at = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    (tmp_path / "t.parquet").write_bytes(data[:at] + data[at:].replace(b"\xd8\x04", b"\xa0\x06"))  # 300, 400 in zigzag
    assert len(read_manifest([str(tmp_path / "t.parquet")]).items) == 400
    with pytest.raises(InputError) as e:
        text_of(row_address(str(tmp_path / "t.parquet"), 350))
    assert e.value.reason is Reason.UNREADABLE
