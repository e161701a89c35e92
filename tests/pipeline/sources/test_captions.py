"""Captions are read from files, and every file that cannot be read gives a reason."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

import pytest

from pipeline.sources.captions import read_caption
from schemas.errors import InputError, Reason


@pytest.mark.parametrize(
    "data",
    [
        "a légende\n".encode(),
        codecs.BOM_UTF8 + "a légende".encode(),
        codecs.BOM_UTF16_LE + " a légende\r\n".encode("utf-16-le"),
        codecs.BOM_UTF16_BE + "a légende".encode("utf-16-be"),
    ],
)
def test_a_caption_is_read_in_every_unicode_encoding(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    assert read_caption(str(tmp_path / "a.txt")) == "a légende"


@pytest.mark.parametrize("data", [b"", b" \n\t", codecs.BOM_UTF8])
def test_a_file_of_white_space_is_an_empty_caption(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    assert read_caption(str(tmp_path / "a.txt")) == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("latin1.txt", "not valid UTF-8; convert the file to UTF-8"),
        ("binary.txt", "NUL at byte 1"),
        ("large.txt", "the limit is 1,048,576"),
        ("folder.txt", "not a file"),
        ("pipe.txt", "not a file"),
        ("absent.txt", "No such file"),
        ("nul\0.txt", "embedded null"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_caption_that_cannot_be_read_gives_a_reason(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "latin1.txt").write_bytes("une légende".encode("latin-1"))
    (tmp_path / "binary.txt").write_bytes(b"a\0b")
    (tmp_path / "large.txt").write_bytes(b"a" * ((1 << 20) + 1))
    (tmp_path / "folder.txt").mkdir()
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(InputError, match=message) as caught:
        read_caption(f"{tmp_path}/{name}")
    assert caught.value.reason is Reason.BAD_CAPTION
    assert str(caught.value).startswith(f"caption {tmp_path}/{name}: ")
