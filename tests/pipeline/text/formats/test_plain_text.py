"""Plain text: the text of a file with normalized line endings."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.text.formats.plain_text import read_plain_text
from schemas.errors import InputError, Reason


def test_text_is_unchanged_except_for_line_endings(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"  one\r\ntwo\rthree <b>\n\n")
    assert read_plain_text(tmp_path / "a.txt", 100)[:3] == ("  one\ntwo\nthree <b>\n\n", "text", "utf-8")


def test_binary_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\0\1\2")
    with pytest.raises(InputError) as e:
        read_plain_text(tmp_path / "a.txt", 100)
    assert e.value.reason is Reason.NOT_TEXT
