"""Which format a book's file has, and a format from outside the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.text.formats.registry import FORMATS, BookFormat, read_source
from pipeline.text.formats.source_text import SourceText
from schemas.errors import InputError, Reason
from tests.support.inputs.epubs import make_epub


def rejection(path: Path, max_bytes: int = 1 << 20) -> tuple[Reason, str]:
    with pytest.raises(InputError) as e:
        read_source(path, max_bytes)
    return e.value.reason, str(e.value)


@pytest.mark.parametrize(
    ("name", "container"),
    [
        ("a.txt", "text"),
        ("a.md", "text"),
        ("a.unknown", "text"),
        ("a.html", "html"),
        ("a.HTM", "html"),
        ("a.xhtml", "html"),
    ],
)
def test_suffix_selects_the_format(tmp_path: Path, name: str, container: str) -> None:
    (tmp_path / name).write_text("<p>text</p>")
    assert read_source(tmp_path / name, 100).container == container


def test_signature_selects_the_format_for_every_suffix(tmp_path: Path) -> None:
    path = make_epub(tmp_path / "a.epub").rename(tmp_path / "a.txt")
    assert read_source(path, 1 << 20).container == "epub"


def test_file_without_the_signature_of_its_suffix_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.epub").write_text("not a zip archive")
    reason, message = rejection(tmp_path / "a.epub")
    assert reason is Reason.UNREADABLE
    assert "is not a readable EPUB: File is not a zip file; its first bytes are b'not '" in message


def test_files_that_cannot_be_read_have_a_reason(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("x" * 101)
    (tmp_path / "blank.txt").write_text(" \n")
    assert rejection(tmp_path / "missing.txt")[0] is Reason.MISSING
    assert rejection(tmp_path)[0] is Reason.UNREADABLE
    assert rejection(tmp_path / "long.txt", 100)[0] is Reason.TOO_LARGE
    assert rejection(tmp_path / "blank.txt")[0] is Reason.EMPTY


def test_another_format_is_one_reader_and_one_entry(tmp_path: Path) -> None:
    def read_reversed(path: Path, max_bytes: int) -> SourceText:
        return SourceText(path.read_text()[::-1][:max_bytes], "reversed", "utf-8")

    (tmp_path / "a.rev").write_text("txet")
    added = (*FORMATS, BookFormat("reversed", (".rev",), read_reversed))
    assert read_source(tmp_path / "a.rev", 100, formats=added) == SourceText("text", "reversed", "utf-8")


def test_suffixes_of_formats_are_distinct() -> None:
    suffixes = [suffix for known in FORMATS for suffix in known.suffixes]
    assert len(suffixes) == len(set(suffixes))
