from __future__ import annotations

import asyncio
import errno
import importlib
import json
import lzma
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas import record_errors as record_errors_module
from schemas.errors import ConfigError, InputError, Interrupted, Reason, StorageError
from schemas.record_errors import brief, record_errors


def nest() -> None:
    nest()


def fail_in_our_code(error: BaseException) -> None:
    """Raise an error from a frame whose module belongs to one of our packages."""
    code = compile("def fail(error):\n    raise error\n", "defect.py", "exec")
    names = {"__name__": "pipeline.text.defect"}
    exec(code, names)
    names["fail"](error)  # type: ignore[operator]


def caught(body: Callable[[], object]) -> InputError:
    with pytest.raises(InputError) as e, record_errors("a.mp4"):
        body()
    return e.value


@pytest.mark.parametrize(
    "body",
    [
        lambda: struct.unpack("<q", b"1"),
        lambda: zlib.decompress(b"no"),
        lambda: lzma.decompress(b"no"),
        lambda: b"\xff".decode(),
        lambda: importlib.import_module("a_driver_that_is_not_installed"),
        lambda: Path("/proc/self/mem").read_bytes(),
        lambda: json.loads("[" * 100_000),
        lambda: pq.read_table(pa.BufferReader(b"not parquet")),
        lambda: av.open("/dev/null"),
        nest,
    ],
)
def test_an_error_of_the_content_or_a_library_makes_the_item_unreadable(body: Callable[[], object]) -> None:
    error = caught(body)
    assert error.reason is Reason.UNREADABLE
    assert str(error).startswith("a.mp4: ")
    assert "\n" not in str(error)
    assert len(str(error)) < 400


class RustPanic(BaseException):
    """As a library in Rust raises it."""


@pytest.mark.parametrize(
    "error", [IndexError("of PyAV"), EOFError(), NotImplementedError("method 99"), RustPanic("index out of bounds")]
)
def test_the_message_names_the_class_of_an_error_of_a_library(error: BaseException) -> None:
    def raise_it() -> None:
        raise error

    found = caught(raise_it)
    assert found.reason is Reason.UNREADABLE
    assert str(found) == f"a.mp4: {type(error).__name__}{f': {error}' if str(error) else ''}"
    assert found.__cause__ is error


@pytest.mark.parametrize("error", [IndexError("x"), TypeError("x"), AssertionError("x"), ValueError("x")])
def test_an_error_of_our_own_code_is_a_defect_that_does_not_end_the_run(error: Exception) -> None:
    assert caught(lambda: fail_in_our_code(error)).reason is Reason.FAILED


def test_an_error_that_damaged_content_causes_is_none_of_our_code() -> None:
    assert caught(lambda: fail_in_our_code(struct.error("x"))).reason is Reason.UNREADABLE


@pytest.mark.parametrize(
    "error",
    [
        *(MemoryError(), KeyboardInterrupt(), SystemExit(1), asyncio.CancelledError()),
        *(Interrupted("stop"), ConfigError("x"), InputError(Reason.EMPTY, "zero bytes")),
    ],
)
def test_what_concerns_more_than_the_item_passes_unchanged(error: BaseException) -> None:
    with pytest.raises(type(error)) as e, record_errors("a.mp4"):
        raise error
    assert e.value is error


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENOMEM])
def test_a_machine_without_resources_ends_the_command(code: int) -> None:
    with (
        pytest.raises(StorageError, match=r"a.mp4 cannot be read: .*run the same command again"),
        record_errors("a.mp4"),
    ):
        raise OSError(code, os.strerror(code))


def test_a_long_message_of_several_lines_becomes_one_short_line() -> None:
    assert brief(ValueError("line 1\n  line 2")) == "ValueError: line 1 line 2"
    assert len(brief(ValueError("x" * 10_000))) < 400
    assert brief(OSError(errno.EIO, "Input/output error", "/secret/path")) == "Input/output error"


def test_our_packages_are_those_of_the_distribution() -> None:
    root = Path(record_errors_module.__file__).parents[1]
    packages = {path.parent.name for path in root.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert packages == set(record_errors_module._OUR_PACKAGES)
