from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from schemas.errors import ConfigError
from schemas.weight_files.torch_zip import read, weights_of
from tests.support.vqgan import torch_zip
from tests.support.vqgan.checkpoint_formats import FORMATS
from tests.support.vqgan.hostile_files import Calls, assert_rejected
from tokenizer.checkpoints import checkpoint, containers


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64, ml_dtypes.bfloat16])
def test_tensors_are_read_with_their_dtype_and_values(dtype: type, tmp_path: Path) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    torch_zip.save(tmp_path / "t", {"model": {"x": array}, "step": 3})
    tree = read(tmp_path / "t")
    assert (tree["step"], tree["model"]["x"].shape) == (3, (2, 3))
    found = tree["model"]["x"].read()
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_averaged_weights_are_preferred() -> None:
    weights, averaged = {"x": 1}, {"x": 2}
    assert weights_of({"model": weights, "ema": averaged}) == averaged
    assert weights_of({"state_dict": weights, "ema": {}}) == weights
    assert weights_of(weights) == weights
    assert weights_of([weights]) == {}


def test_a_torch_file_that_calls_a_function_is_rejected(tmp_path: Path) -> None:
    torch_zip.save(tmp_path / "t", {"state_dict": {"encoder.down.0": Calls(os.system, "touch hacked")}})
    assert_rejected(tmp_path / "t", r"calls 'posix.system'; it was not read")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1 << 40, 3, 3, 3), r"claims the shape \[1099511627776, 3, 3, 3\]: this is not a VQGAN"),
        ((4096, 3, 3, 3), r"must have 2 dimensions, got shape \[4096, 3, 3, 3\]"),
        ((-5, 3), r"a tensor has invalid shape \[-5, 3\]"),
    ],
)
def test_a_tensor_larger_than_its_storage_is_rejected(shape: tuple[int, ...], message: str, tmp_path: Path) -> None:
    torch_zip.save(tmp_path / "t", FORMATS["taming"][0]().tree, claim=shape)
    assert_rejected(tmp_path / "t", message)


def test_a_tensor_larger_than_its_storage_is_detected_when_it_is_read(tmp_path: Path) -> None:
    torch_zip.save(tmp_path / "t", {"x": np.zeros(6, np.float32)}, claim=(7,))
    with pytest.raises(ConfigError, match=r"a tensor of shape \[7\] claims more than the 6 values of its storage"):
        containers.read(tmp_path / "t").tensors["x"].read()


def rezip(path: Path, change: Callable[[zipfile.ZipFile, str, bytes], None], **options: Any) -> None:
    """Rewrite a zip file; `change` writes each entry."""
    with zipfile.ZipFile(path) as z:
        entries = {info.filename: z.read(info) for info in z.infolist()}
    with zipfile.ZipFile(path, "w", **options) as z:
        for name, data in entries.items():
            change(z, name, data)


def test_a_zip_file_not_written_by_torch_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "z"
    FORMATS["taming"][1](path)
    rezip(path, lambda z, name, data: z.writestr(name, data), compression=zipfile.ZIP_DEFLATED)
    assert_rejected(path, "is compressed, which torch never writes")
    FORMATS["taming"][1](path)
    rezip(path, lambda z, name, data: z.writestr(name.replace("data.pkl", "index.pkl"), data))
    assert_rejected(path, "not written by torch: it has no folder with a data.pkl")
    for outside in ("../outside", "/outside", "a/../../outside"):
        FORMATS["taming"][1](path)
        with zipfile.ZipFile(path, "a") as z:
            z.writestr(outside, b"x")
        assert_rejected(path, "points outside of it")
    assert not (tmp_path.parent / "outside").exists()


@pytest.mark.slow
def test_the_error_for_a_missing_or_damaged_storage_names_it(tmp_path: Path) -> None:
    path = tmp_path / "z"
    FORMATS["taming"][1](path)
    rezip(path, lambda z, name, data: None if name == "archive/data/3" else z.writestr(name, data))
    assert_rejected(path, "claims more than the 0 values of its storage")
    FORMATS["taming"][1](path)
    whole = bytearray(path.read_bytes())
    needle = FORMATS["taming"][0]().tree["decoder.conv_out.weight"].tobytes()
    whole[whole.index(needle) + 8] ^= 1
    path.write_bytes(whole)
    assert_rejected(path, r"its entry 'archive/data/\d+' is damaged")


def test_objects_of_a_training_run_are_ignored(tmp_path: Path) -> None:
    """In files of old versions of Lightning, the class of a callback is a key and an object of it the value."""
    path = tmp_path / "z"
    FORMATS["taming"][1](path)
    callback = b"cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n"
    instance = callback + b")\x81}X\x01\x00\x00\x00aK\x01sb"  # an object with a state

    def change(z: zipfile.ZipFile, name: str, data: bytes) -> None:
        if name.endswith("data.pkl"):
            data = data[:-1] + b"X\x09\x00\x00\x00callbacks}" + callback + instance + b"ss."
        z.writestr(name, data)

    before = checkpoint.load(path)
    rezip(path, change)
    np.testing.assert_array_equal(checkpoint.load(path).codebook, before.codebook)


def test_damage_anywhere_in_a_torch_file_names_the_file(tmp_path: Path) -> None:
    torch_zip.save(tmp_path / "good", {"state_dict": {"a": np.ones(6, np.float32)}})
    good, path = (tmp_path / "good").read_bytes(), tmp_path / "damaged"
    messages: list[str] = []
    for at in range(len(good)):
        data = bytearray(good)
        data[at] ^= 0xFF
        path.write_bytes(data)
        try:
            for tensor in containers.read(path).tensors.values():
                tensor.read()
        except ConfigError as e:
            messages.append(str(e))
    assert len(messages) > len(good) / 4
    assert not [message for message in messages if "Errno" in message]
    named = (str(path), "its entry", "a tensor of shape")  # of a tensor, checkpoint.load adds the path
    assert not [message for message in messages if not any(name in message for name in named)]


def test_a_part_of_a_tensor_is_read_from_its_place(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.float16).reshape(5, 12)
    torch_zip.save(tmp_path / "t", {"a": np.zeros(3, np.float32), "x": array})
    stored = read(tmp_path / "t")["x"]
    assert stored.part is not None
    assert stored.dtype == np.float16
    np.testing.assert_array_equal(stored.part(12, 36), array[1:3].reshape(-1))


def test_a_part_of_a_damaged_storage_is_not_read(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.float32)
    torch_zip.save(tmp_path / "t", {"x": array})
    whole = bytearray((tmp_path / "t").read_bytes())
    whole[whole.index(array.tobytes()) + 200] ^= 1
    (tmp_path / "t").write_bytes(whole)
    part = read(tmp_path / "t")["x"].part
    assert part is not None
    with pytest.raises(ConfigError, match="is damaged"):
        part(0, 4)
