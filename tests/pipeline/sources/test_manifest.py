"""Manifests from folders, single files and tables, and the errors of invalid ones."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.sources.manifest import read_manifest
from schemas.errors import ManifestError
from schemas.rows import manifest_table


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("content of " + name, encoding="utf-8", errors="replace")


def rows(*inputs: Path) -> list[dict[str, object]]:
    return manifest_table(read_manifest([str(i) for i in inputs]).items).to_pylist()


def test_extensions_determine_kinds_and_other_files_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "sub/b.PNG", "c.txt", "d.xhtml", "notes.docx", "Thumbs.db", ".hidden.mp4")
    manifest = read_manifest([str(tmp_path)])
    assert [(Path(r["uri"]).name, r["kind"]) for r in manifest_table(manifest.items).to_pylist()] == [
        ("a.mp4", "video"),
        ("c.txt", "book"),
        ("d.xhtml", "book"),
        ("b.PNG", "image"),
    ]
    assert manifest.skipped == {".db": 1, ".docx": 1}


def test_only_json_files_with_the_extension_qa_json_are_question_answer_files(tmp_path: Path) -> None:
    touch(tmp_path, "a.qa.json", "sub/B.QA.JSON", "plain.json", "qa.json", "a.qa.json.txt", ".qa.json", "a.qa.txt")
    manifest = read_manifest([str(tmp_path)])
    kinds = {Path(row["uri"]).name: row["kind"] for row in manifest_table(manifest.items).to_pylist()}
    assert kinds == {"a.qa.json": "qa", "B.QA.JSON": "qa", "a.qa.json.txt": "book", "a.qa.txt": "book"}
    assert manifest.skipped == {".json": 2}
    assert rows(tmp_path / "a.qa.json")[0]["kind"] == "qa"
    with pytest.raises(ManifestError, match="unsupported extension; expected a folder"):
        rows(tmp_path / "plain.json")


def test_the_kind_column_overrides_the_extension(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"uri": "1.json", "kind": "qa"}\n{"uri": "s3://bucket/2.qa.json"}\n')
    assert [row["kind"] for row in rows(tmp_path / "m.jsonl")] == ["qa", "qa"]


def test_text_files_next_to_a_video_are_its_caption_and_transcript(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "a.txt", "a.srt", "b.txt")
    video, book = rows(tmp_path)
    assert video["captions"] == ["content of a.txt"]
    assert video["transcript"] == str(tmp_path / "a.srt")
    assert Path(str(book["uri"])).name == "b.txt"


def test_extensions_of_sidecars_are_case_insensitive(tmp_path: Path) -> None:
    touch(tmp_path, "a.MP4", "a.TXT", "a.Srt")
    (video,) = rows(tmp_path)
    assert video["captions"] == ["content of a.TXT"]
    assert video["transcript"] == str(tmp_path / "a.Srt")


def test_links_to_folders_are_counted_and_not_followed(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.mp4")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "loop.mp4").symlink_to("loop.mp4")
    manifest = read_manifest([str(tmp_path / "in")])
    assert [Path(uri).name for uri in [item.uri for item in manifest.items]] == ["a.mp4", "loop.mp4"]
    assert manifest.skipped == {"linked folder": 1}


def test_a_file_name_that_is_not_utf8_is_listed_with_escapes(tmp_path: Path) -> None:
    touch(tmp_path, os.fsdecode(b"caf\xe9.mp4"), os.fsdecode(b"caf\xe9.srt"))
    (row,) = rows(tmp_path)
    assert (row["uri"], row["transcript"]) == (f"{tmp_path}/caf\\xe9.mp4", f"{tmp_path}/caf\\xe9.srt")


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.mp4", "sub/b.mp4")
    scandir = os.scandir

    def deny(path: str) -> object:  # permissions do not apply if the superuser runs the test
        if str(path).endswith("sub"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(ManifestError, match="sub cannot be listed: Permission denied"):
        rows(tmp_path)


def test_a_csv_caption_may_start_with_a_bracket(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("uri,captions\na.mp4,[music]\n")
    assert rows(tmp_path / "m.csv")[0]["captions"] == ["[music]"]


def test_blank_lines_of_jsonl_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"uri": "a.mp4"}\n\n{"uri": "b.mp4"}\n \n')
    assert len(rows(tmp_path / "m.jsonl")) == 2


def test_metadata_that_is_not_json_is_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"uri": ["a.mp4"], "metadata": [b"\xff"]}), tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match="row 1, column 'metadata'"):
        rows(tmp_path / "m.parquet")


def test_the_three_table_formats_give_equal_items(tmp_path: Path) -> None:
    items = [
        {"uri": "v/a.mp4", "kind": "video", "captions": ["one", "two"], "license": "CC0", "metadata": {"k": [1]}},
        {"uri": "s3://bucket/b.mkv", "split": "val", "transcript": "embedded"},
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, items)))
    pq.write_table(
        pa.table({
            "uri": [i["uri"] for i in items],
            "kind": ["video", None],
            "captions": [["one", "two"], None],
            "license": ["CC0", None],
            "metadata": ['{"k": [1]}', None],
            "split": [None, "val"],
            "transcript": [None, "embedded"],
        }),
        tmp_path / "m.parquet",
    )  # fmt: skip
    (tmp_path / "m.csv").write_text(
        "uri,kind,captions,license,metadata,split,transcript\n"
        'v/a.mp4,video,"[""one"", ""two""]",CC0,"{""k"": [1]}",,\n'
        "s3://bucket/b.mkv,,,,,val,embedded\n"
    )
    first = rows(tmp_path / "m.jsonl")
    assert first == rows(tmp_path / "m.parquet") == rows(tmp_path / "m.csv")
    assert first[0]["uri"] == str(tmp_path / "v/a.mp4")
    assert first[1]["uri"] == "s3://bucket/b.mkv"
    assert first[1]["kind"] == "video"


def test_the_result_does_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    lines = [json.dumps({"uri": f"{i}.mp4"}) for i in range(5)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    (tmp_path / "b.jsonl").write_text("\n".join(reversed(lines)))
    assert rows(tmp_path / "a.jsonl") == rows(tmp_path / "b.jsonl")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"uri": "a.mp4", "licence": "MIT"}, r"row 2: unknown column 'licence'; did you mean 'license'\?"),
        ({"kind": "video"}, "row 2, column 'uri': got None, expected a path"),
        ({"uri": "a.xyz"}, "row 2, column 'kind': got None, expected one of video, image, book"),
        ({"uri": "a.mp4", "kind": "film"}, "column 'kind': got 'film'"),
        ({"uri": "a.mp4", "split": "test"}, "column 'split': got 'test', expected one of train, val"),
        ({"uri": "a.mp4", "captions": [1]}, r"column 'captions': got \[1\], expected a string or a list"),
        ({"uri": "a.mp4", "transcript": "a.doc"}, "column 'transcript': got 'a.doc'"),
        ({"uri": "\ud800.mp4"}, "column 'uri'.*text that can be encoded as UTF-8"),
        ({"uri": "a.mp4", "title": "\ud800"}, "column 'title'.*text that can be encoded as UTF-8"),
        ({"uri": "a.mp4", "captions": "\ud800"}, "column 'captions'.*text that can be encoded as UTF-8"),
        ({"uri": "ok.mp4", "title": "another"}, "already listed by .*row 1 with other values"),
    ],
)
def test_an_invalid_row_is_an_error_with_row_column_and_value(
    tmp_path: Path, row: dict[str, object], message: str
) -> None:
    (tmp_path / "m.jsonl").write_text(json.dumps({"uri": "ok.mp4"}) + "\n" + json.dumps(row))
    with pytest.raises(ManifestError, match=message):
        rows(tmp_path / "m.jsonl")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.jsonl", b'{"uri": "a.mp4"}\n{oops', "line 2: invalid JSON"),
        ("m.jsonl", b"[" * 100_000, "line 1: invalid JSON"),
        ("m.jsonl", b"[1]", "expected a JSON object"),
        ("m.csv", b"uri,kind\n\xff\xfe,video\n", "not a readable CSV"),
        ("m.csv", b"uri\na.mp4,video\n", "more fields than the header"),
        ("m.parquet", b"PAR1 is not enough", "not a readable Parquet"),
    ],
)
def test_an_unreadable_table_is_an_error(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError, match=message):
        rows(tmp_path / name)


def test_missing_and_empty_inputs_are_errors_that_list_supported_files(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such file or folder"):
        rows(tmp_path / "absent")
    with pytest.raises(ManifestError, match="no such manifest"):
        rows(tmp_path / "absent.csv")
    with pytest.raises(ManifestError, match=r"no item found in .*; supported are video \(\.mp4"):
        rows(tmp_path)
