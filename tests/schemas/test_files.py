from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import DatasetError, StorageError, storage_errors
from schemas.files import atomic, inside
from schemas.fingerprint import bucket, fingerprint, sha256_file


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_as_such() -> None:
    with pytest.raises(StorageError, match="No space left.*run the same command again"), storage_errors(Path("x")):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_really_full_device_is_told_as_such() -> None:
    with pytest.raises(StorageError), storage_errors(Path("/dev/full")), Path("/dev/full").open("wb", 0) as f:
        f.write(b"x")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x"])
def test_a_name_from_data_does_not_leave_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match="outside"):
        inside(tmp_path, name)


def test_fingerprints_depend_on_values_not_on_order_of_keys_or_the_process(tmp_path: Path) -> None:
    here = fingerprint({"b": 1, "a": [1.5, None]}), bucket("x", 64)
    code = "from schemas.fingerprint import *; print(fingerprint({'a': [1.5, None], 'b': 1}), bucket('x', 64))"
    for seed in ("0", "1"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        there = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        assert there.stdout.split() == [here[0], str(here[1])]
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert fingerprint(4) == fingerprint(4.0) != fingerprint(4.5)


def test_a_path_in_a_fingerprint_is_refused() -> None:
    with pytest.raises(TypeError, match="Path"):
        fingerprint(Path("x"))


def test_a_files_hash_is_its_contents(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256_file(tmp_path / "f").startswith("ba7816bf")
