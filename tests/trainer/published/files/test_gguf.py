from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from schemas.errors import ConfigError
from trainer.published.files.gguf import QUANTIZED, read_gguf


def write(path: Path, tensors: dict[str, tuple[np.ndarray, gguf.GGMLQuantizationType | None]]) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    for name, (array, kind) in tensors.items():
        writer.add_tensor(name, array, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("name", QUANTIZED)
def test_any_rows_are_dequantized_as_the_package_does_it(name: str, tmp_path: Path) -> None:
    kind = gguf.GGMLQuantizationType[name]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    # Bytes of plausible blocks: all values are finite as long as the scales are, which are float16.
    data = np.random.default_rng(0).integers(0, 60, (6, 2 * size), dtype=np.uint8)
    path = write(tmp_path / "m.gguf", {"x": (data, kind)})
    expected = gguf.quants.dequantize(data, kind)
    found = read_gguf(path).tensors["x"]
    assert (found.shape, found.dtype) == ((6, 2 * block), name)
    np.testing.assert_array_equal(found.rows(0, 6), expected)
    np.testing.assert_array_equal(found.rows(2, 5), expected[2:5])


def test_plain_types_are_read_in_their_own(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float16).reshape(3, 4)
    found = read_gguf(write(tmp_path / "m", {"x": (array, None)})).tensors["x"]
    assert found.rows(1, 3).dtype == np.float16
    np.testing.assert_array_equal(found.rows(1, 3), array[1:])


def described(*tensors: tuple[bytes, tuple[int, ...], int, int], data: int = 256) -> bytes:
    """Return a file whose tensors have the given names, dims, types and offsets."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 0)
    for name, dims, kind, offset in tensors:
        head += struct.pack("<Q", len(name)) + name + struct.pack("<I", len(dims))
        head += b"".join(struct.pack("<Q", n) for n in dims) + struct.pack("<IQ", kind, offset)
    return head + bytes(-len(head) % 32) + bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (described((b"x", (4,), 0, 0), (b"y", (4,), 0, 8)), "the values of 'y' overlap those of another tensor"),
        (described((b"x", (65,), 0, 0)), "the values of 'x' end at 324, after the end of the file at 320"),
        (described((b"x", (1 << 60, 1 << 60), 0, 0)), "after the end of the file"),
        (described((b"x", (4,), 0, 1 << 62)), "after the end of the file"),
        (described((b"x", (33,), 2, 0)), r"'x' of shape \(33,\) is not a whole number of blocks of 32 values"),
        (described((b"x", (), 0, 0)), "is not a whole number of blocks"),
        (described((b"x", (256,), 10, 0)), "'x' has the type Q2_K; supported are F32"),
        (described((b"x", (4,), 999, 0)), "'x' has the type number 999"),
    ],
)
def test_tensors_outside_of_the_file_or_of_other_types_are_one_clear_error(
    data: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "m.gguf").write_bytes(data)
    with pytest.raises(ConfigError, match=message) as e:
        read_gguf(tmp_path / "m.gguf")
    assert "m.gguf" in str(e.value)
