from __future__ import annotations

import hashlib
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from gguf import GGUFReader

from schemas.weight_files.gguf import Value
from trainer.published.files.gguf import read_gguf
from trainer.published.files.gguf_writer import write_gguf
from trainer.published.files.writers import Output

MATRIX, VECTOR = np.arange(21, dtype=np.float32).reshape(7, 3), np.linspace(0, 1, 5, dtype=np.float32)
METADATA: dict[str, Value] = {
    "general.architecture": "llama",
    "a": 1,
    "b": 0.5,
    "c": True,
    "d": "text",
    "e": ["x", "y"],
    "f": [1.5, 2.0],
}


def output(name: str, array: np.ndarray) -> Output:
    return Output(name=name, shape=array.shape, blocks=lambda: iter(np.array_split(array, 3)))


def test_the_package_and_our_reader_read_metadata_and_tensors(tmp_path: Path) -> None:
    written = write_gguf(tmp_path / "m.gguf", [output("m", MATRIX), output("v", VECTOR)], METADATA, dtype="float32")
    data = (tmp_path / "m.gguf").read_bytes()
    assert (written.size_bytes, written.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    theirs = {tensor.name: tensor for tensor in GGUFReader(tmp_path / "m.gguf").tensors}
    np.testing.assert_array_equal(theirs["m"].data, MATRIX)
    np.testing.assert_array_equal(theirs["v"].data, VECTOR)
    ours = read_gguf(tmp_path / "m.gguf")
    np.testing.assert_array_equal(ours.tensors["m"].rows(0, 7), MATRIX)
    assert {key: ours.metadata[key] for key in METADATA} == METADATA


@pytest.mark.parametrize(("dtype", "kind"), [("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)])
def test_matrices_are_rounded_and_vectors_are_not(dtype: str, kind: type, tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf", [output("v", VECTOR), output("m", MATRIX)], METADATA, dtype=dtype)
    tensors = read_gguf(tmp_path / "m.gguf").tensors
    np.testing.assert_array_equal(tensors["v"].rows(0, 5), VECTOR)
    np.testing.assert_array_equal(tensors["m"].rows(0, 7), MATRIX.astype(kind))
