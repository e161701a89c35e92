"""Pickles whose reading would take more time or memory than their size warrants."""

from __future__ import annotations

import pickle
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import ConfigError
from schemas.weight_files import pickle_check, safe_pickle
from schemas.weight_files.pickle_check import check_pickle
from tests.support.vqgan.hostile_files import assert_rejected

NESTED = b")q\x000" + b"h\x00h\x00\x86q\x000" * 64 + b"h\x00"  # a tuple of two equal tuples, 64 times over
MANY = b"(" + b"K\x01" * 100_000


def pickled(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pickled(b"}", NESTED, b"K\x01s"), "keys are not strings or integers"),
        (pickled(b"}(", NESTED, b"K\x01u"), "keys are not strings or integers"),
        (pickled(b"(", NESTED, b"K\x01d"), "keys are not strings or integers"),
        (pickled(b"\x8f(", NESTED, b"\x90"), "keys are not strings or integers"),
        (pickled(b"(", NESTED, b"\x91"), "keys are not strings or integers"),
        (pickled(b"}(X\x01\x00\x00\x00aK\x01", NESTED, b"K\x01u"), "keys are not strings or integers"),
        (pickled(b"}", NESTED, b"2K\x01s"), "keys are not strings or integers"),
        (pickled(b"ccollections\nOrderedDict\n((", NESTED, b"K\x01\x86tt\x85R"), "keys of a dictionary are not"),
        (pickled(b"cnumpy\ndtype\n", NESTED, b"\x85R"), "arrays of type a tuple are not supported"),
        (pickled(b"c_codecs\nencode\nX\x01\x00\x00\x00a", NESTED, b"\x86R"), "text in encoding a tuple"),
        # An integer of 200 bytes, hashed for every key, and integers with equal hashes.
        (pickled(b"}\x8a\xc8" + b"\x7f" * 200, b"K\x01s"), "an integer of 1,599 bits"),
        (pickled(b"}(", *(b"\x8a\x09" + (k * ((1 << 61) - 1)).to_bytes(9, "little") + b"N" for k in range(1, 9)), b"u"),
         "keys are not strings or integers"),
        # Bytes and dictionaries that are made again and again of the same parts.
        (pickled(b"X\x00\x10\x00\x00" + b"a" * 4096 + b"\x85q\x000", b"c_codecs\nencode\nh\x00R0" * 1000, b"N"),
         "makes far more than it contains"),
        (pickled(b"](", *(b"X\x01\x00\x00\x00aK\x01\x86" for _ in range(1000)), b"e\x85q\x000",
                 b"ccollections\nOrderedDict\nh\x00R0" * 1000, b"N"), "makes far more than it contains"),
        (pickled(MANY, b"t"), "a tuple of 100,000 elements"),
        (pickled(b"]r\x00\x01\x00\x00"), "claims 256 memo entries"),
        (pickled(b"X\xe8\x03\x00\x00" + b"a" * 1000 + b"X\x01\x00\x00\x00b\x93"), "a name of 1,001 characters"),
        (pickled(b"0"), "not a complete pickle"),
        (pickled(b"K\x01s"), "not a complete pickle"),
        (pickled(b"K\x01t"), "not a complete pickle"),
        (pickled(b"h\x07"), "not a complete pickle"),
    ],
)  # fmt: skip
def test_a_pickle_that_would_take_unlimited_time_or_memory_is_rejected(
    data: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "p").write_bytes(data)
    began = time.monotonic()
    assert_rejected(tmp_path / "p", message)
    assert time.monotonic() - began < 10


def test_the_number_of_opcodes_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_check, "_MAX_OPCODES", 1000)
    check_pickle(pickled(b"N0" * 498, b"N"))
    with pytest.raises(ConfigError, match="of more than 1,000 opcodes"):
        check_pickle(pickled(b"N0" * 500, b"N"))


def test_a_short_pickle_of_a_nested_key_is_rejected_at_once() -> None:
    data = pickled(b"}", b")q\x000" + b"h\x00h\x00\x86q\x000" * 30 + b"h\x00", b"K\x01s")
    with pytest.raises(ConfigError):
        safe_pickle.load(data)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_what_pickle_writes_for_plain_values_passes(protocol: int) -> None:
    shared = [1, 2]
    tree = {"a": {1: shared, None: (), "b": 1.5}, "big": 1 << 200, "deep": ((1, (2, (3,))),)}
    if protocol > 1:  # earlier ones write text as lines
        check_pickle(pickle.dumps(tree, protocol))
    check_pickle(pickle.dumps({"x": np.arange(6), "y": OrderedDict(a=1)}, max(2, protocol)))


@pytest.mark.slow
def test_many_entries_and_classes_as_keys_pass() -> None:
    check_pickle(pickle.dumps({str(i): [i, (i, None)] for i in range(20_000)}, 2))
    check_pickle(pickle.dumps({OrderedDict: 1}, 2))
