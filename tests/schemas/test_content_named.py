from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from schemas.content_named import content_named
from schemas.dataset_files import StoredFile


def test_a_file_gets_the_name_for_its_content(tmp_path: Path) -> None:
    with content_named(tmp_path / "set", "index.json") as draft:
        draft.path.write_bytes(b"{}")
        assert draft.path.name.startswith(".index.json.")
    sha256 = hashlib.sha256(b"{}").hexdigest()
    assert draft.stored == StoredFile(name=f"index-{sha256[:12]}.json", filesize=2, sha256=sha256)
    assert [(path.name, path.read_bytes()) for path in (tmp_path / "set").iterdir()] == [(draft.stored.name, b"{}")]


def test_a_hash_that_the_writer_knows_is_used(tmp_path: Path) -> None:
    with content_named(tmp_path, "a.tar") as draft:
        draft.path.write_bytes(b"x")
        draft.sha256 = "0" * 64
    assert [path.name for path in tmp_path.iterdir()] == [f"a-{'0' * 12}.tar"]


def test_nothing_is_stored_without_a_file_or_on_an_error(tmp_path: Path) -> None:
    with content_named(tmp_path, "a.tar") as draft:
        pass
    assert draft.stored is None
    with pytest.raises(FileNotFoundError), content_named(tmp_path, "a.tar") as draft:
        draft.path.with_name(draft.path.name + "x").rename(draft.path)
    assert list(tmp_path.iterdir()) == []
