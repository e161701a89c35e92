"""Writes safetensors files, and LWM's msgpack streams, block by block."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError, InternalError
from schemas.files import write_text
from schemas.storage.location import located

DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float16": np.dtype("<f2"),
}
_SAFETENSORS = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_BIN_LIMIT = (1 << 32) - 1  # bytes of a value in msgpack
_CHUNK_LIMIT = 1 << 30  # flax divides larger arrays


@dataclass(frozen=True, kw_only=True)
class Output:
    """A tensor to write: `blocks` yields its values in row-major order, as float32 arrays of any shape."""

    name: str
    shape: tuple[int, ...]
    blocks: Callable[[], Iterator[NDArray[Any]]]

    def size_bytes(self, dtype: str) -> int:
        """Return the bytes of the values in `dtype`."""
        return math.prod(self.shape) * DTYPES[dtype].itemsize


@dataclass(frozen=True, kw_only=True)
class Written:
    """A file that was written."""

    name: str
    size_bytes: int
    sha256: str


class Sink:
    """Writes to a file, and computes its size and hash."""

    def __init__(self, file: Any) -> None:
        self._file, self.digest, self.size = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self._file.write(data)
        self.digest.update(data)
        self.size += len(data)

    def values(self, output: Output, dtype: str) -> Iterator[bytes]:
        """Yield the bytes of a tensor; raises InternalError if they are not as many as its shape says."""
        left = output.size_bytes(dtype)
        for block in output.blocks():
            data = np.ascontiguousarray(block.astype(DTYPES[dtype])).tobytes()
            left -= len(data)
            yield data
        if left:
            raise InternalError(f"{output.name} of shape {output.shape} was written with {-left} bytes too many")


def write_safetensors(folder: Path, outputs: Sequence[Output], *, dtype: str, shard_bytes: int) -> list[Written]:
    """Write `model.safetensors`, or shards of about `shard_bytes` with an index; return the files."""
    shards = _shards(outputs, dtype=dtype, shard_bytes=shard_bytes)
    if len(shards) == 1:
        return [_write_shard(folder / "model.safetensors", shards[0], dtype)]
    written: list[Written] = []
    places: dict[str, str] = {}
    for i, shard in enumerate(shards, 1):
        name = f"model-{i:05}-of-{len(shards):05}.safetensors"
        written.append(_write_shard(folder / name, shard, dtype))
        places |= {output.name: name for output in shard}
    total = sum(output.size_bytes(dtype) for output in outputs)
    index = {"metadata": {"total_size": total}, "weight_map": places}
    write_text(folder / "model.safetensors.index.json", json.dumps(index, indent=2) + "\n")
    return written


def _shards(outputs: Sequence[Output], *, dtype: str, shard_bytes: int) -> list[list[Output]]:
    shards: list[list[Output]] = [[]]
    size = 0
    for output in outputs:
        if shards[-1] and size + output.size_bytes(dtype) > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(output)
        size += output.size_bytes(dtype)
    return shards


def _write_shard(path: Path, outputs: Sequence[Output], dtype: str) -> Written:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for output in outputs:
        end = place + output.size_bytes(dtype)
        offsets = [place, end]
        header[output.name] = {"dtype": _SAFETENSORS[dtype], "shape": list(output.shape), "data_offsets": offsets}
        place = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with located(path).writing() as temporary, temporary.open("wb") as file:
        sink = Sink(file)
        sink.write(len(text).to_bytes(8, "little") + text)
        for output in outputs:
            for data in sink.values(output, dtype):
                sink.write(data)
    return Written(name=path.name, size_bytes=sink.size, sha256=sink.digest.hexdigest())


def write_msgpack_stream(path: Path, outputs: Sequence[Output], *, dtype: str) -> Written:
    """Write LWM's layout: pairs of key and the bytes of an array, where names joined with "/" are keys.

    Raises ConfigError for an array of 4 GiB or more, which a value of msgpack cannot have.
    """
    for output in outputs:
        if output.size_bytes(dtype) + 4096 > _BIN_LIMIT:
            raise ConfigError(
                f"{output.name} has {output.size_bytes(dtype)} bytes as {dtype}, and a value of msgpack less than "
                "4 GiB: export with --dtype bfloat16, or with --no-scan"
            )
    with located(path).writing() as temporary, temporary.open("wb") as file:
        sink = Sink(file)
        for output in outputs:
            for data in _pair(sink, output, dtype):
                sink.write(data)
    return Written(name=path.name, size_bytes=sink.size, sha256=sink.digest.hexdigest())


def _pair(sink: Sink, output: Output, dtype: str) -> Iterator[bytes]:
    """Yield the bytes of a key and its array."""
    keys = output.name.split("/")
    yield bytes([0x92, 0x90 | len(keys)]) + b"".join(map(_text, keys))
    size, each = output.size_bytes(dtype), _CHUNK_LIMIT // DTYPES[dtype].itemsize
    count = math.prod(output.shape)
    if size <= _CHUNK_LIMIT:
        head = _array_head(output.shape, dtype, size)
        yield b"\xc6" + struct.pack(">I", len(head) + size) + head
        yield from sink.values(output, dtype)
        return
    lengths = [min(each, count - start) for start in range(0, count, each)]
    heads = [_text(str(i)) + _array_head((n,), dtype, n * DTYPES[dtype].itemsize) for i, n in enumerate(lengths)]
    start = _chunked_head(output.shape, len(heads))
    yield b"\xc6" + struct.pack(">I", len(start) + sum(map(len, heads)) + size) + start
    yield from _interleaved(heads, lengths, sink.values(output, dtype), DTYPES[dtype].itemsize)


def _interleaved(heads: list[bytes], lengths: list[int], data: Iterator[bytes], itemsize: int) -> Iterator[bytes]:
    """Yield each head, followed by the bytes of its part."""
    rest = b""
    for head, length in zip(heads, lengths, strict=True):
        yield head
        left = length * itemsize
        while left:
            rest = rest or next(data)
            yield rest[:left]
            rest, left = rest[left:], left - min(left, len(rest))
    for _ in data:  # lets `values` compare the number of bytes
        pass


def _chunked_head(shape: tuple[int, ...], parts: int) -> bytes:
    sizes = b"".join(_text(str(i)) + _integer(n) for i, n in enumerate(shape))
    head = b"\x83" + _text("__msgpack_chunked_array__") + b"\xc3" + _text("shape") + bytes([0x80 | len(shape)]) + sizes
    return head + _text("chunks") + b"\xde" + struct.pack(">H", parts)


def _array_head(shape: tuple[int, ...], dtype: str, size: int) -> bytes:
    """Return the bytes before the values: flax's extension of code 1, with shape, dtype and values."""
    inner = b"\x93" + bytes([0x90 | len(shape)]) + b"".join(map(_integer, shape)) + _text(dtype)
    inner += b"\xc6" + struct.pack(">I", size)
    return b"\xc9" + struct.pack(">IB", len(inner) + size, 1) + inner


def _text(text: str) -> bytes:
    data = text.encode()
    return (bytes([0xA0 | len(data)]) if len(data) < 32 else b"\xd9" + bytes([len(data)])) + data


def _integer(value: int) -> bytes:
    return b"\xce" + struct.pack(">I", value)
