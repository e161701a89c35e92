"""Reads the header of a GGUF file: its metadata (shapes, tokenizer, chat template) and where its tensors are.

    magic, version, number of tensors, number of metadata entries
    entries: name, type, value        (types 0 to 12; an array has a type and a length, but no arrays in it)
    tensors: name, dims (innermost first), type, offset
    padding to `general.alignment`, then the values of the tensors

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3. A header is read in time and memory
in proportion to its size, whatever lengths it claims.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from schemas.errors import ConfigError
from schemas.record_errors import brief
from schemas.storage.regular import open_regular

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_HEADER_BYTES = 128 << 20  # a vocabulary of 256,000 pieces with its merges takes 12 MB
_MAX_DIMS = 4
_STRING, _ARRAY = 8, 9
_NUMBERS = ("<u1", "<i1", "<u2", "<i2", "<u4", "<i4", "<f4", "?", None, None, "<u8", "<i8", "<f8")  # by type
_MIN_ENTRY, _MIN_TENSOR = 8 + 4 + 1, 8 + 4 + 4 + 8  # bytes of the shortest entry and tensor description

Value = bool | int | float | str | list[Any]


class GgufTensor(NamedTuple):
    """Where a tensor is: `shape` is in the order of numpy, `offset` counts from the start of the file."""

    shape: tuple[int, ...]
    type_id: int  # one of ggml's types, for example 0 for float32
    offset: int


@dataclass(frozen=True)
class GgufHeader:
    """The metadata and the tensors of a file, by name."""

    metadata: dict[str, Value]
    tensors: dict[str, GgufTensor]


def read_header(path: Path) -> GgufHeader:
    """Read the header of a file; raises ConfigError if it is not a complete GGUF file."""
    try:
        with open_regular(path) as f:
            return _Reader(f, os.fstat(f.fileno()).st_size).header()
    except ConfigError as e:
        raise ConfigError(f"{path}: {e}") from e
    except FileNotFoundError as e:
        raise ConfigError(f"{path} does not exist") from e
    except (OSError, ValueError) as e:  # also UnicodeDecodeError
        raise ConfigError(f"{path} is not a complete GGUF file ({brief(e)}): download or copy it again") from e


class _Reader:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self._left = min(size, _MAX_HEADER_BYTES)  # bytes that the header may still take

    def header(self) -> GgufHeader:
        if self._bytes(4) != MAGIC:
            raise ConfigError("it is not a GGUF file: its first bytes are not GGUF")
        version = self._number("<u4")
        if version not in _VERSIONS:
            raise ConfigError(f"GGUF version {version} is not supported; supported are 2 and 3, little-endian")
        tensors, entries = self._count(_MIN_TENSOR), self._count(_MIN_ENTRY)
        metadata: dict[str, Value] = {}
        for _ in range(entries):
            name = self._string()
            metadata[name] = self._value(self._number("<u4"))
        described = [self._tensor() for _ in range(tensors)]
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20 or alignment & (alignment - 1):
            raise ConfigError(f"its general.alignment must be a power of two, got {alignment!r}")
        start = -(-self._file.tell() // alignment) * alignment
        found: dict[str, GgufTensor] = {}
        for name, tensor in described:
            if name in found:
                raise ConfigError(f"two of its tensors are named {name!r}")
            found[name] = tensor._replace(offset=start + tensor.offset)
        return GgufHeader(metadata, found)

    def _tensor(self) -> tuple[str, GgufTensor]:
        name, dims = self._string(), self._number("<u4")
        if dims > _MAX_DIMS:
            raise ConfigError(f"its tensor {name[:80]!r} has {dims} dims; at most {_MAX_DIMS} are possible")
        shape = tuple(self._number("<u8") for _ in range(dims))
        return name, GgufTensor(shape[::-1], self._number("<u4"), self._number("<u8"))

    def _value(self, kind: int) -> Value:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array()
        return self._numbers(kind, 1)[0]

    def _array(self) -> list[Any]:
        kind = self._number("<u4")
        if kind == _STRING:
            return [self._string() for _ in range(self._count(8))]
        return self._numbers(kind, self._number("<u8"))

    def _numbers(self, kind: int, count: int) -> list[Any]:
        name = _NUMBERS[kind] if kind < len(_NUMBERS) else None
        if name is None:
            raise ConfigError(f"its metadata has a value of type {kind}, which is not supported")
        dtype = np.dtype(name)
        return np.frombuffer(self._bytes(count * dtype.itemsize), dtype).tolist()

    def _number(self, name: str) -> int:
        dtype = np.dtype(name)
        return int(np.frombuffer(self._bytes(dtype.itemsize), dtype)[0])

    def _count(self, least: int) -> int:
        """Read a number of things that take at least `least` bytes each."""
        count = self._number("<u8")
        if count * least > self._left:
            raise ConfigError(f"it claims {count} entries, more than its header can hold: download or copy it again")
        return count

    def _string(self) -> str:
        (length,) = struct.unpack("<Q", self._bytes(8))
        return self._bytes(length).decode("utf-8", errors="surrogateescape")

    def _bytes(self, count: int) -> bytes:
        if count > self._left:
            raise ConfigError(f"its header claims {count} bytes where {self._left} are left: download or copy it again")
        self._left -= count
        data = self._file.read(count)
        if len(data) != count:
            raise ConfigError("it is truncated: download or copy it again")
        return data
