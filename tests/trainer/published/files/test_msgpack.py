from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import ml_dtypes
import msgpack
import numpy as np
import pytest
from flax import serialization

from schemas.errors import ConfigError
from tests.support.published.models import write_flax, write_stream
from trainer.published.files.msgpack import read_msgpack

TREE = {"a/b/kernel": np.arange(12, dtype=np.float32).reshape(3, 4), "c/kernel": np.arange(3, dtype=np.float32)}


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
def test_streams_and_trees_of_flax_are_read(dtype: Any, tmp_path: Path) -> None:
    tree = {name: value.astype(dtype) for name, value in TREE.items()}
    stream = read_msgpack(write_stream(tmp_path / "s", tree, dtype=dtype))
    nested = read_msgpack(write_flax(tmp_path / "t", tree))
    assert stream.keys() == tree.keys()
    assert nested.keys() == {f"params/{name}" for name in tree}
    for name, value in tree.items():
        for found in (stream[name], nested[f"params/{name}"]):
            assert found.shape == value.shape
            np.testing.assert_array_equal(found.rows(0, len(value)), value)


def test_an_array_in_parts_is_read_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 20)  # 5 values a part
    found = read_msgpack(write_stream(tmp_path / "s", TREE))
    assert read_msgpack(write_flax(tmp_path / "t", TREE)).keys() == {f"params/{name}" for name in TREE}
    np.testing.assert_array_equal(found["a/b/kernel"].rows(0, 3), TREE["a/b/kernel"])
    np.testing.assert_array_equal(found["a/b/kernel"].rows(1, 2), TREE["a/b/kernel"][1:2])


def test_an_array_above_4_gib_is_indexed_without_reading_it(tmp_path: Path) -> None:
    """The values are holes of a sparse file: a map of six parts of 1 GiB, not in the bytes of another document."""
    part, count = 1 << 28, 6
    rows = count * part // 1024
    with (tmp_path / "s").open("wb") as f:
        f.write(b"\x92" + msgpack.packb(["big"]) + b"\x83" + msgpack.packb("__msgpack_chunked_array__") + b"\xc3")
        f.write(msgpack.packb("shape") + msgpack.packb({"0": rows, "1": 1024}) + msgpack.packb("chunks") + b"\x86")
        for i in range(count):
            inner = b"\x93" + msgpack.packb([part]) + msgpack.packb("float32") + b"\xc6" + struct.pack(">I", 4 * part)
            f.write(msgpack.packb(str(i)) + b"\xc9" + struct.pack(">IB", len(inner) + 4 * part, 1) + inner)
            f.seek(4 * part - 4, 1)
            f.write(struct.pack("<f", i))
    tracemalloc.start()
    found = read_msgpack(tmp_path / "s")["big"]
    last = found.rows(rows - 1, rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.shape == (rows, 1024)
    assert last[0, -1] == 5
    np.testing.assert_array_equal(found.rows(part // 1024 - 1, part // 1024 + 1)[:, -1], [0, 0])
    assert peak < 1 << 20


def stream(value: bytes, key: Any = ("x",)) -> bytes:
    return b"\x92" + msgpack.packb(key) + value


def ext(shape: Any, dtype: Any, data: bytes) -> bytes:
    inner = msgpack.packb((shape, dtype, data))
    return msgpack.packb(msgpack.ExtType(1, inner))


def wrapped(data: bytes) -> bytes:
    return msgpack.packb(data)


GOOD = ext((2,), "float32", bytes(8))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "truncated"),
        (b"\x93abc", "not a stream of pairs"),
        (b"hello", "not a stream of pairs"),
        (stream(wrapped(GOOD))[:-1], "more than the file has|truncated"),
        (stream(b"\xc6" + struct.pack(">I", 1 << 31) + GOOD), "claims 2147483648 bytes"),
        (stream(wrapped(GOOD + b"\0")), "do not end with its array"),
        (stream(wrapped(ext((3,), "float32", bytes(8)))), r"shape \[3\] and dtype float32 has 8 bytes"),
        (stream(wrapped(ext((1 << 40, 1 << 40), "float32", bytes(8)))), "has 8 bytes"),
        (stream(wrapped(ext((-1,), "float32", bytes(8)))), "no valid shape"),
        (stream(wrapped(ext("ab", "float32", bytes(8)))), "no valid shape"),
        (stream(wrapped(ext((2,), "float32", bytes(8)) + GOOD)), "do not end with its array"),
        (stream(wrapped(msgpack.packb([1]))), "'x' is a list instead of an array"),
        (stream(wrapped(GOOD), key="x"), "a key is not a list of names"),
        (stream(wrapped(GOOD), key=["y"] * 20), "a key is not a list of names"),
        (stream(wrapped(GOOD), key=[["y"]]), "a name that is not a short string"),
        (stream(wrapped(GOOD), key=["y" * 5000]), "a name that is not a short string"),
        (stream(wrapped(GOOD)) * 2, "two of its arrays are named 'x'"),
        (stream(b"\xc1"), "the byte 0xc1"),
        (b"\xdf\xff\xff\xff\xff" + msgpack.packb("a") + GOOD, "truncated"),
        (b"\x81" + msgpack.packb("a") + GOOD + b"\0", "1 bytes after its end"),
        (b"\x81" + b"\xa1a\x81" * 40, "more than 16 levels"),
        (stream(b"\x82" + msgpack.packb("__msgpack_chunked_array__") + b"\xc3"), "an array in parts is not valid"),
    ],
)
def test_malformed_files_are_one_clear_error(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(data)
    with pytest.raises(ConfigError, match=message) as e:
        read_msgpack(tmp_path / "m")
    assert str(tmp_path / "m") in str(e.value)


def test_numbers_next_to_arrays_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(serialization.to_bytes({"step": 3, "params": {"x": np.ones(2, np.float32)}}))
    assert read_msgpack(tmp_path / "m").keys() == {"params/x"}
