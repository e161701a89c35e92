from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from schemas.errors import ConfigError
from trainer.published.files.safetensors import read_safetensors, read_sharded


def write(path: Path, header: Any, data: bytes = b"", *, claim: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if claim is None else claim) + text + data)
    return path


def entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_values_are_those_that_the_package_writes(tmp_path: Path) -> None:
    arrays: dict[str, np.ndarray] = {
        "a": np.arange(24, dtype=np.float32).reshape(4, 6),
        "b": np.arange(6, dtype=np.float16),
        "c": np.arange(3, dtype=np.int64),
    }
    save_file(arrays, tmp_path / "m", metadata={"format": "pt"})
    found = read_safetensors(tmp_path / "m")
    assert {name: (x.shape, x.dtype) for name, x in found.items()} == {
        "a": ((4, 6), "F32"),
        "b": ((6,), "F16"),
        "c": ((3,), "I64"),
    }
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name].rows(0, len(array)), array)
    np.testing.assert_array_equal(found["a"].rows(1, 3), arrays["a"][1:3])


def test_bfloat16_is_read_without_torch(tmp_path: Path) -> None:
    array = np.array([1.5, -2, 3], ml_dtypes.bfloat16)
    write(tmp_path / "m", {"x": entry([3], 0, 6, "BF16")}, array.tobytes())
    np.testing.assert_array_equal(read_safetensors(tmp_path / "m")["x"].rows(0, 3), array)


_FOUR = {"x": entry([1], 0, 4)}


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        (_FOUR, b"", "has 69 bytes, but its header describes 73"),
        (_FOUR, bytes(5), "has 74 bytes, but its header describes 73"),
        ({"x": entry([2], 0, 4)}, bytes(4), "x has 4 bytes, but its shape"),
        ({"x": entry([1 << 40, 1 << 40], 0, 4)}, bytes(4), "x has 4 bytes, but its shape"),
        ({"x": entry([1], 0, 4), "y": entry([1], 2, 6)}, bytes(6), "the offsets of y overlap another tensor"),
        ({"x": entry([1], 0, 4), "y": entry([1], 8, 12)}, bytes(12), "or leave a gap: 8, expected 4"),
        ({"x": entry([1], 4, 0)}, bytes(4), "x has -4 bytes"),
        ({"x": entry([-1], 0, 4)}, bytes(4), "describes 'x' without a valid shape"),
        ({"x": entry([True], 0, 4)}, bytes(4), "describes 'x' without a valid shape"),
        ({"x": {"dtype": "F32"}}, bytes(4), "describes 'x' without a valid shape"),
        ({"x": [1]}, bytes(4), "describes 'x' without a valid shape"),
        ({"x": entry([1], 0, 4, "Q9")}, bytes(4), "x has the dtype 'Q9'"),
        (b"[]", b"", "a JSON list where an object is expected"),
        (b"{", b"", "no valid JSON"),
        (b"[" * 100_000, b"", "no valid JSON"),
        (b'{"x": 1, "x": 2}', b"", "a name is repeated"),
        (b"\xff\xfe", b"", "no valid JSON"),
    ],
)
def test_a_lying_header_is_one_clear_error(header: Any, data: bytes, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors", header, data)
    with pytest.raises(ConfigError, match=message) as e:
        read_safetensors(path)
    assert "m.safetensors" in str(e.value)


def test_a_header_longer_than_the_file_is_not_read(tmp_path: Path) -> None:
    for claim in (1 << 62, 100):
        with pytest.raises(ConfigError, match=f"claims a header of {claim} bytes in a file of 10"):
            read_safetensors(write(tmp_path / "m", b"{}", claim=claim))
    (tmp_path / "m").write_bytes(b"abc")
    with pytest.raises(ConfigError, match="in a file of 3"):
        read_safetensors(tmp_path / "m")


def sharded(folder: Path, places: Any) -> Path:
    save_file({"a": np.ones(2, np.float32)}, folder / "one.safetensors")
    save_file({"b": np.zeros(3, np.float32)}, folder / "two.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


def test_shards_are_read_as_one(tmp_path: Path) -> None:
    found = read_sharded(sharded(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"}))
    assert {name: x.shape for name, x in found.items()} == {"a": (2,), "b": (3,)}


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ({"a": "one.safetensors", "b": "three.safetensors"}, r"shards are missing \(1 of 2\): three.safetensors"),
        ({"a": "x" * 5000}, rf"shards are missing \(1 of 1\): {'x' * 80};"),
        ({"a": "two.safetensors"}, "places a in two.safetensors, which does not contain it"),
        ({"a": "model.safetensors.index.json"}, "names itself as a shard"),
        ({"a": "../one.safetensors"}, "'../one.safetensors', which is not a file name in its own folder"),
        ({"a": "/etc/passwd"}, "'/etc/passwd', which is not a file name in its own folder"),
        ({"a": ".."}, "which is not a file name in its own folder"),
        ({"a": ""}, "which is not a file name in its own folder"),
        ({"a": 3}, "it has no weight_map from tensor names to file names"),
        ({}, "it has no weight_map from tensor names to file names"),
        ([], "it has no weight_map from tensor names to file names"),
    ],
)
def test_an_index_that_leads_elsewhere_is_one_clear_error(places: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as e:
        read_sharded(sharded(tmp_path, places))
    assert "model.safetensors.index.json" in str(e.value)


def test_a_shard_that_is_a_cycle_of_links_is_one_clear_error(tmp_path: Path) -> None:
    index = sharded(tmp_path, {"a": "loop.safetensors"})
    (tmp_path / "loop.safetensors").symlink_to("loop.safetensors")
    with pytest.raises(ConfigError, match="shards are missing|cannot be read"):
        read_sharded(index)
