from __future__ import annotations

import builtins
import os
import pickle
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from schemas.weight_files import safe_pickle
from tests.support.vqgan.checkpoint_formats import FORMATS
from tests.support.vqgan.hostile_files import Calls, assert_rejected
from tokenizer.checkpoints import checkpoint

HOSTILE = {
    "posix.system": Calls(os.system, "touch hacked"),
    "builtins.eval": Calls(eval, "open('hacked', 'w')"),
    "builtins.getattr": Calls(getattr, "x", "__class__"),
    "builtins.__import__": Calls(builtins.__import__, "os"),
    "numpy.load": Calls(np.load, "x.npy", None, True),
    "numpy.ones": Calls(np.ones, (1 << 30,)),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_that_calls_a_function_is_rejected_with_its_name(name: str, protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "p"
    path.write_bytes(pickle.dumps({"encoder": HOSTILE[name]}, protocol))
    assert_rejected(path, rf"calls '(__builtin__|{name.split('.')[0]}).*\.{name.split('.')[1]}'; it was not read")


def pickled(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


NAMED = b"cnumpy.core.multiarray\n_reconstruct\n"  # an allowed name
DTYPE = b"cnumpy\ndtype\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        # Set the state of an allowed function.
        (pickled(NAMED, b"}", b"b"), "modifies what it calls"),
        (pickled(NAMED, b"N}X\x04\x00\x00\x00_runK\x01s\x86b"), "modifies what it calls"),
        # A dotted name that reaches an import of a module.
        (pickled(b"\x8c\x05numpy\x8c\x12core.os.system.x.y\x93"), "calls 'numpy.core.os.system.x.y'"),
        # Arrays of objects, records and text.
        (pickled(DTYPE, b"X\x01\x00\x00\x00O\x85R"), "arrays of type 'O' are not supported"),
        (pickled(DTYPE, b"X\x05\x00\x00\x00f4,f4\x85R"), "arrays of type 'f4,f4' are not supported"),
        (pickled(DTYPE, b"X\x02\x00\x00\x00U9\x85R"), "arrays of type 'U9' are not supported"),
        # A numbered class, and a memo index larger than the file.
        (pickled(b"\x82\x01"), "pickle with opcode EXT1"),
        (pickled(b"}", b"r\xff\xff\xff\xff"), "claims 4294967295 memo entries"),
        # A length larger than the file.
        (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x.", "not a complete pickle"),
        (pickled(b"K\x05"), "contains a int instead of a dictionary"),
        (b"\x80\x04", "not a complete pickle"),
        (pickled(b"R"), "not a complete pickle"),
        (pickled(b"]" * 100_000, b"a" * 99_999), "contains a list"),
    ],
)
def test_a_malformed_or_hostile_pickle_is_rejected(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(data)
    assert_rejected(tmp_path / "p", message)


def test_a_hostile_pickle_does_not_change_the_allowed_names(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(pickled(b"cml_dtypes\nbfloat16\n", b"}b"))
    assert_rejected(tmp_path / "p", "not a complete pickle")
    FORMATS["lwm"][1](tmp_path / "l")
    checkpoint.load(tmp_path / "l")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, ml_dtypes.bfloat16])
def test_arrays_are_read_as_pickle_reads_them(dtype: type, protocol: int) -> None:
    tree = {"a": {"b": np.arange(6).reshape(2, 3).astype(dtype)}, "c": np.asfortranarray(np.eye(3, 2, dtype=dtype))}
    read = safe_pickle.load(pickle.dumps(tree, protocol))
    for found, expected in ((read["a"]["b"], tree["a"]["b"]), (read["c"], tree["c"])):
        assert found.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(found, expected)


def test_numbers_and_strings_are_read() -> None:
    tree = {"steps": 3, "loss": 0.5, "name": "vqgan", "best": [1, None]}
    assert safe_pickle.load(pickle.dumps(tree)) == tree
