from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import ConfigError
from tests.support.vqgan import torch_zip
from tests.support.vqgan.hostile_files import CREATED, Calls
from trainer.published.files.torch import read_consolidated, read_torch


def test_tensors_of_a_torch_file_are_read_in_parts(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float16).reshape(3, 4)
    torch_zip.save(tmp_path / "m.bin", {"x": array, "step": 3})
    found = read_torch(tmp_path / "m.bin")
    assert {name: (x.shape, x.dtype) for name, x in found.items()} == {"x": ((3, 4), "F16")}
    np.testing.assert_array_equal(found["x"].rows(1, 3), array[1:])


def test_a_pickle_that_calls_a_function_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch_zip.save(tmp_path / "m.bin", {"x": Calls(os.system, "touch hacked")})
    with pytest.raises(ConfigError, match=r"m\.bin: it is a pickle that calls 'posix.system'"):
        read_torch(tmp_path / "m.bin")
    assert not CREATED.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"garbage"])
def test_a_file_that_is_not_of_torch_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(content)
    with pytest.raises(ConfigError, match=r"m\.bin"):
        read_torch(tmp_path / "m.bin")


def consolidated(folder: Path, *parts: dict[str, np.ndarray]) -> Path:
    for i, part in enumerate(parts):
        torch_zip.save(folder / f"consolidated.{i:02}.pth", part)
    return folder


def test_shards_are_joined_along_the_axis_that_meta_splits(tmp_path: Path) -> None:
    wq, wo = np.arange(32, dtype=np.float32).reshape(8, 4), np.arange(32, dtype=np.float32).reshape(4, 8)
    parts = [
        {"layers.0.attention.wq.weight": wq[:4], "layers.0.attention.wo.weight": wo[:, :4], "norm.weight": wq[0]},
        {"layers.0.attention.wq.weight": wq[4:], "layers.0.attention.wo.weight": wo[:, 4:], "norm.weight": wq[0]},
    ]
    found = read_consolidated(consolidated(tmp_path, *parts), dim=4)
    np.testing.assert_array_equal(found["layers.0.attention.wq.weight"].rows(0, 8), wq)
    np.testing.assert_array_equal(found["layers.0.attention.wo.weight"].rows(1, 4), wo[1:])
    np.testing.assert_array_equal(found["norm.weight"].rows(0, 4), wq[0])


def test_missing_and_mixed_shards_are_one_clear_error(tmp_path: Path) -> None:
    x = {"norm.weight": np.ones(4, np.float32)}
    consolidated(tmp_path, x, x, x)
    (tmp_path / "consolidated.01.pth").unlink()
    with pytest.raises(ConfigError, match=r"lacks consolidated\.01\.pth"):
        read_consolidated(tmp_path, dim=4)
    consolidated(tmp_path, x, {"other.weight": np.ones(4, np.float32)}, x)
    with pytest.raises(ConfigError, match="have tensors of different names"):
        read_consolidated(tmp_path, dim=4)
    wide, narrow = ({"layers.0.attention.wo.weight": np.ones((n, 4), np.float32)} for n in (4, 2))
    consolidated(tmp_path, wide, narrow, wide)
    with pytest.raises(ConfigError, match="has parts of different shapes or dtypes"):
        read_consolidated(tmp_path, dim=4)
