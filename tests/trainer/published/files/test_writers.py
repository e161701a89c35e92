from __future__ import annotations

import hashlib
import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from schemas.errors import ConfigError, InternalError
from tests.support.published.models import read_stream
from trainer.published.files import writers
from trainer.published.files.safetensors import read_safetensors
from trainer.published.files.writers import Output, write_msgpack_stream, write_safetensors


def output(name: str, array: np.ndarray) -> Output:
    return Output(name=name, shape=array.shape, blocks=lambda: iter(np.array_split(array, 3)))


A, B = np.arange(24, dtype=np.float32).reshape(6, 4), np.linspace(0, 1, 5, dtype=np.float32)


def test_the_package_reads_one_file_and_shards(tmp_path: Path) -> None:
    (only,) = write_safetensors(tmp_path, [output("a", A), output("b", B)], dtype="float32", shard_bytes=1000)
    assert only.sha256 == hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    found = load_file(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(found["a"], A)
    np.testing.assert_array_equal(found["b"], B)
    written = write_safetensors(tmp_path, [output("a", A), output("b", B)], dtype="float32", shard_bytes=96)
    assert [x.name for x in written] == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == {"a": written[0].name, "b": written[1].name}
    assert index["metadata"]["total_size"] == 116


def test_bfloat16_is_rounded_to_nearest(tmp_path: Path) -> None:
    write_safetensors(tmp_path, [output("b", B)], dtype="bfloat16", shard_bytes=1000)
    found = read_safetensors(tmp_path / "model.safetensors")["b"].rows(0, 5)
    np.testing.assert_array_equal(found, B.astype(ml_dtypes.bfloat16))


@pytest.mark.parametrize("limit", [1 << 30, 12, 40])
def test_flax_reads_streams_with_and_without_parts(limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "_CHUNK_LIMIT", limit)
    write_msgpack_stream(tmp_path / "s", [output("x/y/kernel", A), output("z", B)], dtype="float32")
    found = read_stream(tmp_path / "s")
    np.testing.assert_array_equal(found["x/y/kernel"], A)
    np.testing.assert_array_equal(found["z"], B)


def test_an_array_that_msgpack_cannot_hold_is_rejected_with_the_remedy(tmp_path: Path) -> None:
    big = Output(name="big", shape=(1 << 15, 1 << 15), blocks=lambda: iter(()))
    with pytest.raises(ConfigError, match="less than 4 GiB: export with --dtype bfloat16, or with --no-scan"):
        write_msgpack_stream(tmp_path / "s", [big], dtype="float32")


def test_a_tensor_without_all_of_its_values_is_an_internal_error(tmp_path: Path) -> None:
    short = Output(name="short", shape=(4,), blocks=lambda: iter([np.zeros(3, np.float32)]))
    with pytest.raises(InternalError, match="short of shape"):
        write_safetensors(tmp_path, [short], dtype="float32", shard_bytes=1000)
    assert not list(tmp_path.iterdir())
