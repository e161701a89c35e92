"""Manifests from folders, single files and tables, and the errors of invalid ones."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.sources.manifest import read_manifest, read_valid_items
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
    assert video["caption_file"] == str(tmp_path / "a.txt")
    assert video["transcript"] == str(tmp_path / "a.srt")
    assert Path(str(book["uri"])).name == "b.txt"


def test_the_language_of_a_transcript_is_listed_and_other_sidecars_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "a.de.srt", "a.en.srt", "a.fr.vtt", "a.txt", "a.en.txt", "b.srt", "c.en.txt")
    manifest = read_manifest([str(tmp_path)])
    (video, book) = manifest.items
    assert (video.transcript, video.transcript_language) == (str(tmp_path / "a.de.srt"), "de")
    assert Path(book.uri).name == "c.en.txt"
    assert manifest.skipped == {".srt": 1, "unused caption or transcript": 3}


def test_a_caption_in_another_normalization_is_no_book(tmp_path: Path) -> None:
    for item, caption in (("Café.mp4", "Cafe\u0301.txt"), ("\u00c9te\u0301.PNG", "E\u0301t\u00c9.TXT")):
        touch(tmp_path, item, caption)
    assert [(row["kind"], row["caption_file"] is not None) for row in rows(tmp_path)] == [
        ("video", True),
        ("image", True),
    ]


def test_extensions_of_sidecars_are_case_insensitive(tmp_path: Path) -> None:
    touch(tmp_path, "a.MP4", "a.TXT", "a.Srt")
    (video,) = rows(tmp_path)
    assert video["caption_file"] == str(tmp_path / "a.TXT")
    assert video["transcript"] == str(tmp_path / "a.Srt")


def test_links_to_folders_are_counted_and_not_followed(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.mp4")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "loop.mp4").symlink_to("loop.mp4")
    manifest = read_manifest([str(tmp_path / "in")])
    assert [Path(uri).name for uri in [item.uri for item in manifest.items]] == ["a.mp4", "loop.mp4"]
    assert manifest.skipped == {"linked folder": 1}


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


def test_metadata_that_is_not_json_is_rejected(tmp_path: Path) -> None:
    pq.write_table(pa.table({"uri": ["a.mp4"], "metadata": [b"\xff"]}), tmp_path / "m.parquet")
    (row,) = rows(tmp_path / "m.parquet")
    assert row["reason"] == "invalid_row"
    assert "row 1: column 'metadata'" in str(row["detail"])


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


def test_a_file_that_is_listed_twice_with_different_values_is_rejected_in_any_order(tmp_path: Path) -> None:
    lines = ['{"uri": "a.mp4"}', '{"uri": "a.mp4", "title": "A"}', '{"uri": "b.mp4"}', '{"uri": "b.mp4"}']
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    first, second = rows(tmp_path / "m.jsonl")
    assert (first["reason"], first["kind"], first["title"]) == ("invalid_row", "video", None)
    table = tmp_path / "m.jsonl"
    assert first["detail"] == (
        f"listed with different values by {table}, line 1 and by {table}, line 2; list every file once"
    )
    assert second["reason"] is None  # twice with the same values

    (tmp_path / "n.jsonl").write_text('{"uri": "a.mp4", "title": "B"}')
    both = rows(tmp_path / "m.jsonl", tmp_path / "n.jsonl")
    assert both == rows(tmp_path / "n.jsonl", tmp_path / "m.jsonl")
    assert [row["reason"] for row in both] == ["invalid_row", None]


def test_an_invalid_row_counts_as_an_item(tmp_path: Path) -> None:
    lines = [
        json.dumps({"uri": "ok.mp4"}),
        "{oops",
        json.dumps({"uri": "a.mp4", "title": 1}),
        json.dumps({"kind": "qa"}),
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    assert [row["reason"] for row in rows(tmp_path / "m.jsonl")] == ["invalid_row"] * 3 + [None]


def test_valid_items_are_returned_and_the_others_are_logged(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"uri": "ok.mp4"}\n{oops')
    logged: list[str] = []
    (item,) = read_valid_items([str(tmp_path / "m.jsonl")], logged.append)
    assert Path(item.uri).name == "ok.mp4"
    (line,) = logged
    assert line.startswith(f"rejected (invalid_row): {tmp_path}/m.jsonl, line 2: invalid JSON")


def test_a_uri_whose_kind_is_unknown_is_an_error_on_the_command_line() -> None:
    with pytest.raises(ManifestError, match=r"https://example.org/a.xyz: column 'kind': got None, expected one of"):
        read_manifest(["https://example.org/a.xyz"])


def test_missing_and_empty_inputs_are_errors_that_list_supported_files(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such file or folder"):
        rows(tmp_path / "absent")
    with pytest.raises(ManifestError, match="no such manifest"):
        rows(tmp_path / "absent.csv")
    with pytest.raises(ManifestError, match=r"no item found in .*; supported are video \(\.mp4"):
        rows(tmp_path)
