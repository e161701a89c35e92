from __future__ import annotations

from pathlib import Path

from schemas.storage.client import md5, md5_of_file


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert md5_of_file(tmp_path / "x") == md5(b"abc") == "900150983cd24fb0d6963f7d28e17f72"
