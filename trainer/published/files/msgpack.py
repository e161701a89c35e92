"""Indexes msgpack files of flax arrays: one pass over the structure finds every array, and skips its values.

Two layouts, told apart by the first byte:

    stream   pairs (key, value) one after another, as LWM and EasyLM save them: the key is a list of names, the value
             the bytes of another msgpack document with one array
    tree     one document of nested maps, as `flax.serialization.to_bytes` writes it

Flax stores an array as an extension (code 1) that contains shape, dtype and values, and one above 1 GiB as a map of a
shape and such parts. The package msgpack holds each value in memory before it can be skipped, 6 GB for LWM's largest.
Formats: https://github.com/msgpack/msgpack/blob/master/spec.md, flax/serialization.py
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from schemas.errors import ConfigError
from schemas.record_errors import brief
from schemas.storage.regular import open_regular
from trainer.published.files.tensor import BFLOAT16, Tensor, Tensors, in_file, joined, require_file

_ARRAY_CODE, _MAX_DEPTH, _MAX_NAMES, _MAX_NAME_BYTES = 1, 16, 200_000, 4096
_CHUNKED = "__msgpack_chunked_array__"
# First bytes: the kind of what follows, and the struct format of its length or value.
_SIZED = {
    first + i: (kind, form)
    for first, kind, forms in (
        (0xC4, "bin", (">B", ">H", ">I")),
        (0xC7, "ext", (">B", ">H", ">I")),
        (0xD9, "str", (">B", ">H", ">I")),
        (0xDC, "list", (">H", ">I")),
        (0xDE, "map", (">H", ">I")),
    )
    for i, form in enumerate(forms)
}
_NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"}
_NUMBERS |= {0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_DTYPES = {
    "float32": ("F32", np.dtype("<f4")),
    "float64": ("F64", np.dtype("<f8")),
    "float16": ("F16", np.dtype("<f2")),
    "bfloat16": ("BF16", BFLOAT16),
}


class _Head(NamedTuple):
    """The beginning of a value: its kind, and its length or the number itself."""

    kind: str
    value: Any


def read_msgpack(path: Path) -> Tensors:
    """Return the arrays of a file by their keys joined with "/"; raises ConfigError if it is malformed or truncated."""
    size = require_file(path)
    try:
        with open_regular(path) as f:
            return dict(_Index(path, f, size).arrays())
    except ConfigError as e:
        raise ConfigError(f"{path}: {e}") from e
    except (OSError, ValueError, OverflowError, struct.error) as e:
        raise ConfigError(f"{path} is not a complete msgpack file ({brief(e)}): download or copy it again") from e


class _Index:
    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self._path, self._file, self._size, self._seen = path, file, size, 0

    def arrays(self) -> Iterator[tuple[str, Tensor]]:
        """Yield name and tensor of every array."""
        found: set[str] = set()
        for name, tensor in self._all():
            if name in found:
                raise ConfigError(f"two of its arrays are named {name!r}")
            found.add(name)
            yield name, tensor

    def _all(self) -> Iterator[tuple[str, Tensor]]:
        head = self._head()
        if head.kind == "map":
            yield from self._tree((), head, 0)
            if self._at() != self._size:
                raise ConfigError(f"it has {self._size - self._at()} bytes after its end")
            return
        while True:
            if head != _Head("list", 2):
                raise ConfigError("it is not a stream of pairs of key and array, nor a map")
            yield from self._value(self._key(), 0)
            if self._at() == self._size:
                return
            head = self._head()

    def _key(self) -> tuple[str, ...]:
        head = self._head()
        if head.kind != "list" or not 1 <= head.value <= _MAX_DEPTH:
            raise ConfigError("a key is not a list of names")
        return tuple(self._name() for _ in range(head.value))

    def _value(self, key: tuple[str, ...], depth: int) -> Iterator[tuple[str, Tensor]]:
        """Read the value of a key: an array, a map, or the bytes of one; numbers are ignored."""
        head = self._head()
        if head.kind == "bin":  # of the stream: a document of its own
            end = self._end(head.value)
            yield from self._value(key, depth + 1)
            if self._at() != end:
                raise ConfigError(f"the bytes of {'/'.join(key)!r} do not end with its array")
        elif head.kind == "map":
            yield from self._tree(key, head, depth)
        elif head.kind == "ext":
            yield from self._extension(key, head)
        elif head.kind != "number":
            raise ConfigError(f"{'/'.join(key)!r} is a {head.kind} instead of an array")

    def _tree(self, key: tuple[str, ...], head: _Head, depth: int) -> Iterator[tuple[str, Tensor]]:
        if depth > _MAX_DEPTH:
            raise ConfigError(f"it has more than {_MAX_DEPTH} levels of names")
        for i in range(head.value):
            name = self._name()
            if i == 0 and name == _CHUNKED:
                yield "/".join(key), self._chunked(head.value)
                return
            yield from self._value((*key, name), depth + 1)

    def _extension(self, key: tuple[str, ...], head: _Head) -> Iterator[tuple[str, Tensor]]:
        code, end = self._bytes(1)[0], self._end(head.value)
        if code == _ARRAY_CODE:
            yield "/".join(key), self._array(end)
        self._file.seek(end)

    def _array(self, end: int) -> Tensor:
        """Read shape and dtype of an array and skip its values, which end at `end`."""
        if self._head() != _Head("list", 3):
            raise ConfigError("an array has no shape, dtype and values")
        shape, name = self._shape(), self._name()
        values = self._head()
        start, length = self._at(), values.value
        dtype_name, dtype = _DTYPES.get(name, (name, np.dtype(np.uint8)))
        is_known = name in _DTYPES
        if values.kind not in ("bin", "str") or start + length != end:
            raise ConfigError("an array has lengths that contradict each other")
        if is_known and math.prod(shape) * dtype.itemsize != length:
            raise ConfigError(f"an array of shape {list(shape)} and dtype {name} has {length} bytes")
        self._file.seek(end)
        return in_file(self._path, start, shape, dtype, name=dtype_name)

    def _chunked(self, entries: int) -> Tensor:
        """Read the rest of a map that contains an array in parts."""
        if entries != 3 or self._head() != _Head("number", True):
            raise ConfigError("an array in parts is not valid")
        self._expect_name("shape")
        shape = tuple(self._size_of(value) for value in self._numbered())
        self._expect_name("chunks")
        parts = [self._part() for _ in self._indices()]
        if len({part.dtype for part in parts}) != 1 or sum(p.shape[0] for p in parts) != math.prod(shape):
            raise ConfigError(f"the parts of an array of shape {list(shape)} do not have its values")
        return Tensor(shape, parts[0].dtype, joined(parts, axis=0).read)

    def _part(self) -> Tensor:
        head = self._head()
        if head.kind != "ext" or self._bytes(1)[0] != _ARRAY_CODE:
            raise ConfigError("a part of an array is not an array")
        part = self._array(self._end(head.value))
        if len(part.shape) != 1:
            raise ConfigError("a part of an array is not flat")
        return part

    def _numbered(self) -> Iterator[_Head]:
        for _ in self._indices():
            yield self._head()

    def _indices(self) -> Iterator[int]:
        """Yield the keys of a map from "0" on, before each value is read."""
        head = self._head()
        if head.kind != "map":
            raise ConfigError("an array in parts is not valid")
        for i in range(head.value):
            self._expect_name(str(i))
            yield i

    def _expect_name(self, expected: str) -> None:
        if self._name() != expected:
            raise ConfigError("an array in parts is not valid")

    def _shape(self) -> tuple[int, ...]:
        head = self._head()
        if head.kind != "list" or head.value > 8:
            raise ConfigError("an array has no valid shape")
        return tuple(self._size_of(self._head()) for _ in range(head.value))

    def _size_of(self, head: _Head) -> int:
        if head.kind != "number" or type(head.value) is not int or not 0 <= head.value < 1 << 62:
            raise ConfigError("an array has no valid shape")
        return int(head.value)

    def _name(self) -> str:
        self._seen += 1
        head = self._head()
        if head.kind not in ("str", "bin") or head.value > _MAX_NAME_BYTES or self._seen > _MAX_NAMES:
            raise ConfigError(f"it has a name that is not a short string, or more than {_MAX_NAMES} names")
        return self._bytes(head.value).decode()

    def _head(self) -> _Head:
        first = self._bytes(1)[0]
        if first <= 0x7F or first >= 0xE0:
            return _Head("number", first if first <= 0x7F else first - 256)
        if first <= 0xBF:
            kind = "map" if first <= 0x8F else "list" if first <= 0x9F else "str"
            return _Head(kind, first & (0x1F if kind == "str" else 0x0F))
        if first in _SIZED:
            kind, form = _SIZED[first]
            return _Head(kind, self._unpack(form))
        if first in _NUMBERS:
            return _Head("number", self._unpack(_NUMBERS[first]))
        if 0xD4 <= first <= 0xD8:
            return _Head("ext", 1 << (first - 0xD4))
        if first in _CONSTANTS:
            return _Head("number", _CONSTANTS[first])
        raise ConfigError(f"it has the byte {first:#x}, which msgpack does not use")

    def _unpack(self, form: str) -> Any:
        return struct.unpack(form, self._bytes(struct.calcsize(form)))[0]

    def _bytes(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) != count:
            raise ConfigError("it is truncated: download or copy it again")
        return data

    def _end(self, length: int) -> int:
        """Return where a value of `length` bytes ends; raises ConfigError if the file ends before."""
        end = self._at() + length
        if end > self._size:
            raise ConfigError(f"a value claims {length} bytes, more than the file has: download or copy it again")
        return end

    def _at(self) -> int:
        return self._file.seek(0, os.SEEK_CUR)
