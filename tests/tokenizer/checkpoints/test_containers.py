from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from flax import serialization

from schemas.errors import ConfigError
from tests.support.vqgan.checkpoint_formats import FORMATS, lwm
from tests.support.vqgan.hostile_files import assert_rejected
from tokenizer.checkpoints import containers
from tokenizer.text.tokenizer import TextTokenizer

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("form", FORMATS)
def test_a_truncated_file_is_rejected(form: str, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    FORMATS[form][1](path)
    whole = path.read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 100):
        path.write_bytes(whole[:length])
        assert_rejected(path, "not a complete")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\x80", "is not a supported weights file"),
        (b"A text, not weights.\n", "is not a supported weights file"),
        (b"{}", "is not a supported weights file"),
        (b"PK\x03\x04", "is not a complete zip file"),
        (b"\x81\xa6params\xc1", "is not a complete flax msgpack file"),
        (b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.rest", "by torch before 1.6: load it with torch"),
        (b"cos\nsystem\n(S'touch hacked'\ntR.", "is not a supported weights file"),
    ],
)
def test_a_file_without_weights_is_rejected(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(data)
    assert_rejected(tmp_path / "f", message)


@pytest.mark.parametrize("length", [0x0280, 0x0480, 0xA688])  # the first bytes of a pickle, and of msgpack
def test_safetensors_with_a_length_that_resembles_another_format_are_read(length: int, tmp_path: Path) -> None:
    header = b'{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'.ljust(length)
    (tmp_path / "s").write_bytes(struct.pack("<Q", length) + header + np.float32([1, 2]).tobytes())
    np.testing.assert_array_equal(containers.read(tmp_path / "s").tensors["x"].read(), [1, 2])


def test_a_folder_and_a_missing_file_are_rejected(tmp_path: Path) -> None:
    assert_rejected(tmp_path, "is a folder: give the weights file itself")
    assert_rejected(tmp_path / "none", r"none does not exist: give a name \(lwm-256, small-128\)")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_the_error_for_weights_that_are_not_finite_names_the_tensor(bad: float, tmp_path: Path) -> None:
    tree = dict(lwm().tree)
    codes = np.array(tree["quantize"]["embeddings"])
    codes[3, 2] = bad
    tree["quantize"] = {"embeddings": codes}
    (tmp_path / "p").write_bytes(pickle.dumps(tree, 4))
    assert_rejected(tmp_path / "p", "1 of 768 values of quantize.embedding.weight are not finite")


def test_a_codebook_of_another_dimension_is_rejected(tmp_path: Path) -> None:
    tree = dict(lwm().tree) | {"quantize": {"embeddings": np.zeros((48, 15), np.float32)}}
    (tmp_path / "p").write_bytes(pickle.dumps(tree, 4))
    assert_rejected(tmp_path / "p", r"quant_conv.bias should be \[15\] and is \[16\]")


def test_msgpack_without_arrays_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(serialization.msgpack_serialize({"params": {"a": "text", "b": 3}}))
    assert_rejected(tmp_path / "m", "to no known VQGAN format")


def test_a_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="pipe cannot be read: not a regular file"):
        containers.read(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="pipe cannot be read: not a regular file"):
        TextTokenizer.load(tmp_path / "pipe")
