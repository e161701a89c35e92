"""Reading the bytes of a file within a limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.text.formats.source_text import read_bytes
from schemas.errors import InputError, Reason


def test_at_most_the_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abcdef")
    assert read_bytes(tmp_path / "a", 4) == b"abcd"
    assert read_bytes(tmp_path / "a", 100) == b"abcdef"


def test_folder_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read") as e:
        read_bytes(tmp_path, 4)
    assert e.value.reason is Reason.UNREADABLE
