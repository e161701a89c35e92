from __future__ import annotations

import builtins
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import serialization

from schemas.errors import ConfigError
from tests.support.vqgan import torch_zip
from tests.support.vqgan.checkpoint_formats import FORMATS, lwm
from tokenizer.checkpoints import checkpoint, containers


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


EVIL = {
    "posix.system": Calls(os.system, "touch hacked"),
    "builtins.eval": Calls(eval, "open('hacked', 'w')"),
    "builtins.getattr": Calls(getattr, "x", "__class__"),
    "builtins.__import__": Calls(builtins.__import__, "os"),
    "numpy.load": Calls(np.load, "x.npy", None, True),
    "numpy.ones": Calls(np.ones, (1 << 30,)),
}


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refuse(path: Path, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as e:
        checkpoint.load(path)
    assert str(path) in str(e.value)
    assert not Path("hacked").exists()


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_that_calls_anything_is_refused_by_the_name_of_what_it_calls(
    name: str, protocol: int, tmp_path: Path
) -> None:
    path = tmp_path / "p"
    path.write_bytes(pickle.dumps({"encoder": EVIL[name]}, protocol))
    refuse(path, rf"calls '(__builtin__|{name.split('.')[0]}).*\.{name.split('.')[1]}'; it was not read")


def test_a_torch_file_that_calls_anything_is_refused(tmp_path: Path) -> None:
    torch_zip.save(tmp_path / "t", {"state_dict": {"encoder.down.0": EVIL["posix.system"]}})
    refuse(tmp_path / "t", r"calls 'posix.system'; it was not read")


def pickled(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


NAMED = b"cnumpy.core.multiarray\n_reconstruct\n"  # one of the names that may be called
DTYPE = b"cnumpy\ndtype\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        # Give the function that a name stands for another state.
        (pickled(NAMED, b"}", b"b"), "modifies what it calls"),
        (pickled(NAMED, b"N}X\x04\x00\x00\x00_runK\x01s\x86b"), "modifies what it calls"),
        # A dotted name reaches what a module imported.
        (pickled(b"\x8c\x05numpy\x8c\x12core.os.system.x.y\x93"), "calls 'numpy.core.os.system.x.y'"),
        # Arrays of objects, of records, of text.
        (pickled(DTYPE, b"X\x01\x00\x00\x00O\x85R"), "arrays of type 'O' are not supported"),
        (pickled(DTYPE, b"X\x05\x00\x00\x00f4,f4\x85R"), "arrays of type 'f4,f4' are not supported"),
        (pickled(DTYPE, b"X\x02\x00\x00\x00U9\x85R"), "arrays of type 'U9' are not supported"),
        # A class by its number, and a place in the memo far beyond the file.
        (pickled(b"\x82\x01"), "pickle with opcode EXT1"),
        (pickled(b"}", b"r\xff\xff\xff\xff"), "claims 4294967295 memo entries"),
        # More bytes than there are.
        (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x.", "not a complete pickle"),
        (pickled(b"K\x05"), "contains a int instead of a dictionary"),
        (b"\x80\x04", "not a complete pickle"),
        (pickled(b"R"), "not a complete pickle"),
        (pickled(b"]" * 100_000, b"a" * 99_999), "contains a list"),
    ],
)
def test_a_pickle_that_plays_tricks_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(data)
    refuse(tmp_path / "p", message)


def test_what_a_pickle_may_call_is_the_same_after_a_hostile_one(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(pickled(b"cml_dtypes\nbfloat16\n", b"}b"))
    refuse(tmp_path / "p", "not a complete pickle")
    FORMATS["lwm"][1](tmp_path / "l")
    checkpoint.load(tmp_path / "l")


def test_a_tree_that_unfolds_without_end_is_refused(tmp_path: Path) -> None:
    tree: dict[str, Any] = {"x": np.zeros(1, np.float32)}
    for _ in range(40):
        tree = {"a": tree, "b": tree}
    (tmp_path / "p").write_bytes(pickle.dumps(tree, 4))
    refuse(tmp_path / "p", "this is not a VQGAN")
    loop: dict[str, Any] = {}
    loop["encoder"] = loop
    (tmp_path / "p").write_bytes(pickle.dumps(loop, 4))
    refuse(tmp_path / "p", "this is not a VQGAN")


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_cut_short_says_so(form: str, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    FORMATS[form][1](path)
    whole = path.read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 100):
        path.write_bytes(whole[:length])
        refuse(path, "not a complete")


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
def test_a_file_that_is_no_weights_says_so(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(data)
    refuse(tmp_path / "f", message)


@pytest.mark.parametrize("length", [0x0280, 0x0480, 0xA688])  # the first bytes of a pickle, and of msgpack
def test_safetensors_whose_length_begins_like_another_kind_are_read(length: int, tmp_path: Path) -> None:
    header = b'{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'.ljust(length)
    (tmp_path / "s").write_bytes(struct.pack("<Q", length) + header + np.float32([1, 2]).tobytes())
    np.testing.assert_array_equal(containers.read(tmp_path / "s").tensors["x"].read(), [1, 2])


def test_a_folder_and_a_missing_file_say_so(tmp_path: Path) -> None:
    refuse(tmp_path, "is a folder: give the weights file itself")
    refuse(tmp_path / "none", r"none does not exist: give a name \(lwm-256, small-128\)")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1 << 40, 3, 3, 3), r"claims the shape \[1099511627776, 3, 3, 3\]: this is not a VQGAN"),
        ((4096, 3, 3, 3), r"must have 2 dimensions, got shape \[4096, 3, 3, 3\]"),
        ((-5, 3), r"a tensor has invalid shape \[-5, 3\]"),
    ],
)
def test_a_tensor_that_claims_more_than_its_storage_is_refused(
    shape: tuple[int, ...], message: str, tmp_path: Path
) -> None:
    torch_zip.save(tmp_path / "t", FORMATS["taming"][0]().tree, claim=shape)
    refuse(tmp_path / "t", message)


def test_the_numbers_of_a_tensor_that_its_storage_lacks_are_missed_when_they_are_read(tmp_path: Path) -> None:
    torch_zip.save(tmp_path / "t", {"x": np.zeros(6, np.float32)}, claim=(7,))
    with pytest.raises(ConfigError, match=r"a tensor of shape \[7\] claims more than the 6 values of its storage"):
        containers.read(tmp_path / "t").tensors["x"].read()


def rezip(path: Path, change: Callable[[zipfile.ZipFile, str, bytes], None], **options: Any) -> None:
    """Write a zip file again, each entry as `change` has it."""
    with zipfile.ZipFile(path) as z:
        entries = {info.filename: z.read(info) for info in z.infolist()}
    with zipfile.ZipFile(path, "w", **options) as z:
        for name, data in entries.items():
            change(z, name, data)


def test_a_zip_file_that_is_none_of_torch_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "z"
    FORMATS["taming"][1](path)
    rezip(path, lambda z, name, data: z.writestr(name, data), compression=zipfile.ZIP_DEFLATED)
    refuse(path, "is compressed, which torch never writes")
    FORMATS["taming"][1](path)
    rezip(path, lambda z, name, data: z.writestr(name.replace("data.pkl", "index.pkl"), data))
    refuse(path, "not written by torch: it has no folder with a data.pkl")
    for outside in ("../outside", "/outside", "a/../../outside"):
        FORMATS["taming"][1](path)
        with zipfile.ZipFile(path, "a") as z:
            z.writestr(outside, b"x")
        refuse(path, "points outside of it")
    assert not (tmp_path.parent / "outside").exists()


def test_a_storage_that_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    path = tmp_path / "z"
    FORMATS["taming"][1](path)
    rezip(path, lambda z, name, data: None if name == "archive/data/3" else z.writestr(name, data))
    refuse(path, "claims more than the 0 values of its storage")
    FORMATS["taming"][1](path)
    whole = bytearray(path.read_bytes())
    needle = FORMATS["taming"][0]().tree["decoder.conv_out.weight"].tobytes()
    whole[whole.index(needle) + 8] ^= 1
    path.write_bytes(whole)
    refuse(path, r"its entry 'archive/data/\d+' is damaged")


def test_a_training_runs_objects_are_passed_over_and_never_made(tmp_path: Path) -> None:
    """As Lightning of old wrote: a callback's class is a key, and an object of it a value."""
    path = tmp_path / "z"
    FORMATS["taming"][1](path)
    callback = b"cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n"
    made = callback + b")\x81}X\x01\x00\x00\x00aK\x01sb"  # an object with a state

    def change(z: zipfile.ZipFile, name: str, data: bytes) -> None:
        if name.endswith("data.pkl"):
            data = data[:-1] + b"X\x09\x00\x00\x00callbacks}" + callback + made + b"ss."
        z.writestr(name, data)

    before = checkpoint.load(path)
    rezip(path, change)
    np.testing.assert_array_equal(checkpoint.load(path).codebook, before.codebook)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(bad: float, tmp_path: Path) -> None:
    tree = dict(lwm().tree)
    codes = np.array(tree["quantize"]["embeddings"])
    codes[3, 2] = bad
    tree["quantize"] = {"embeddings": codes}
    (tmp_path / "p").write_bytes(pickle.dumps(tree, 4))
    refuse(tmp_path / "p", "1 of 768 values of quantize.embedding.weight are not finite")


def test_a_codebook_of_another_width_is_refused(tmp_path: Path) -> None:
    tree = dict(lwm().tree) | {"quantize": {"embeddings": np.zeros((48, 15), np.float32)}}
    (tmp_path / "p").write_bytes(pickle.dumps(tree, 4))
    refuse(tmp_path / "p", r"quant_conv.bias should be \[15\] and is \[16\]")


def test_msgpack_that_holds_no_numbers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(serialization.msgpack_serialize({"params": {"a": "text", "b": 3}}))
    refuse(tmp_path / "m", "to no known VQGAN format")
