from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import DatasetError
from schemas.files import atomic, inside, read_array, read_json, read_toml, write_array, write_json, write_text
from schemas.shards.npy import npy_header, parse_npy_header
from tests.support.bit_flips import flips


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x"])
def test_a_file_name_that_points_outside_its_folder_is_rejected(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match="outside"):
        inside(tmp_path, name)


def test_a_name_inside_the_folder_is_joined(tmp_path: Path) -> None:
    assert inside(tmp_path, "a/../b.tar") == tmp_path / "a/../b.tar"


def test_arrays_and_texts_are_written_with_their_folders(tmp_path: Path) -> None:
    write_array(tmp_path / "new" / "x.npy", np.arange(3))
    np.testing.assert_array_equal(np.load(tmp_path / "new" / "x.npy", mmap_mode="r"), np.arange(3))
    write_text(tmp_path / "new" / "x.txt", "é")
    assert (tmp_path / "new" / "x.txt").read_bytes() == b"\xc3\xa9"


def test_json_is_read_as_it_was_written(tmp_path: Path) -> None:
    values = {"b": [1, 2.5, None, "é"], "a": {"c": True}}
    write_json(tmp_path / "f.json", values)
    assert read_json(tmp_path / "f.json") == values
    assert json.loads((tmp_path / "f.json").read_text())["b"] == values["b"]


def test_flipped_bits_of_a_json_file_are_found(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    write_json(path, {"units": 64, "name": "é"})
    for _ in flips(path, 200):
        with pytest.raises(DatasetError, match="f.json is damaged"):
            read_json(path)


@pytest.mark.parametrize(
    "content", [b"", b"3", b"[]", b"{}", b'{"a": 1}', b"[" * 100_000, b'{"checksum": NaN}', b"\xff\xfe"]
)
def test_json_without_its_checksum_is_rejected(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f.json").write_bytes(content)
    with pytest.raises(DatasetError, match="f.json is damaged"):
        read_json(tmp_path / "f.json")
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "gone.json")


@pytest.mark.parametrize("length", [0, 7])
def test_flipped_bits_of_an_array_are_found(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.npy"
    write_array(path, np.arange(length, dtype=np.int32))
    assert read_array(path).tolist() == np.load(path).tolist() == list(range(length))
    for _ in flips(path, 200):
        with pytest.raises(DatasetError, match="a.npy is damaged"):
            read_array(path)


def test_a_toml_file_that_is_endless_too_long_or_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(OSError, match="not a regular file"):
            read_toml(path)
    (tmp_path / "long.toml").write_bytes(b"#" * (1 << 21))
    with pytest.raises(ValueError, match="longer than the limit of 1,048,576 bytes"):
        read_toml(tmp_path / "long.toml")
    (tmp_path / "deep.toml").write_text("a = " + "[" * 100_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_toml(tmp_path / "deep.toml")


def test_arrays_are_read_by_several_threads(tmp_path: Path, collecting: None) -> None:
    path = tmp_path / "a.npy"
    write_array(path, np.arange(4))

    def read(number: int) -> None:
        for n in range(100):
            read_array(path) if number % 2 else parse_npy_header(
                npy_header(np.dtype([("a", "<i4")]), 1000 * number + n)
            )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(8)))


@pytest.fixture
def collecting() -> Iterator[None]:
    """Let threads take turns at every search for garbage, and search often."""
    before, interval, is_enabled = gc.get_threshold(), sys.getswitchinterval(), gc.isenabled()

    def take_turns(*_: object) -> None:
        time.sleep(0)

    gc.callbacks.append(take_turns)
    gc.set_threshold(2)
    gc.enable()
    sys.setswitchinterval(1e-6)
    yield
    gc.callbacks.remove(take_turns)
    gc.set_threshold(*before)
    sys.setswitchinterval(interval)
    if not is_enabled:
        gc.disable()
