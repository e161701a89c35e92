"""Reads safetensors files, single or sharded with an index, and finds the shards of a folder.

A file is the length of a header (8 bytes), the header (JSON: dtype, shape and offsets of every tensor) and the values.
Unlike the package `safetensors`, which maps the file into memory, this reads parts of bfloat16 tensors without torch.
Format: https://github.com/huggingface/safetensors
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from schemas.errors import ConfigError
from schemas.record_errors import brief
from trainer.published.files.tensor import Tensor, Tensors, in_file, read_bytes, require_file

_MAX_HEADER_BYTES = 100_000_000  # as in the package
_MAX_INDEX_BYTES = 100_000_000
DTYPES: dict[str, np.dtype[Any]] = {
    **{name: np.dtype(kind) for name, kind in {"F64": "<f8", "F32": "<f4", "F16": "<f2"}.items()},
    **{name: np.dtype(kind) for name, kind in {"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"}.items()},
    **{name: np.dtype(kind) for name, kind in {"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1"}.items()},
    "BOOL": np.dtype(np.bool_),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
}


def read_safetensors(path: Path) -> Tensors:
    """Return the tensors of one file; raises ConfigError unless its header accounts for every byte."""
    size = require_file(path)
    try:
        length = int.from_bytes(read_bytes(path, 0, 8), "little") if size >= 8 else size
        if length > min(size - 8, _MAX_HEADER_BYTES):
            raise ConfigError(f"it claims a header of {length} bytes in a file of {size}: download or copy it again")
        header = json_object(read_bytes(path, 8, length))
        header.pop("__metadata__", None)
        return _tensors(path, header, start=8 + length, size=size)
    except ConfigError as e:
        raise e if str(path) in str(e) else ConfigError(f"{path}: {e}") from e


def _tensors(path: Path, header: Mapping[str, Any], *, start: int, size: int) -> Tensors:
    found: dict[str, Tensor] = {}
    ends: list[tuple[int, int, str]] = []
    for name, described in header.items():
        dtype_name, shape, (begin, end) = _description(name, described)
        dtype = DTYPES[dtype_name]
        if end - begin != math.prod(shape) * dtype.itemsize:
            raise ConfigError(f"{name} has {end - begin} bytes, but its shape {shape} and {dtype_name} need others")
        ends.append((begin, end, name))
        found[name] = in_file(path, start + begin, shape, dtype, name=dtype_name)
    place = 0
    for begin, end, name in sorted(ends):
        if begin != place:
            raise ConfigError(f"the offsets of {name} overlap another tensor or leave a gap: {begin}, expected {place}")
        place = end
    if start + place != size:
        raise ConfigError(f"it has {size} bytes, but its header describes {start + place}: download or copy it again")
    return found


def _description(name: str, value: Any) -> tuple[str, tuple[int, ...], tuple[int, int]]:
    fields = value if isinstance(value, dict) else {}
    dtype, shape, offsets = fields.get("dtype"), _sizes(fields.get("shape")), _sizes(fields.get("data_offsets"))
    if shape is None or offsets is None or len(offsets) != 2 or len(shape) > 8:
        raise ConfigError(f"its header describes {name[:80]!r} without a valid shape and offsets")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ConfigError(f"{name} has the dtype {str(dtype)[:20]!r}; supported are {', '.join(DTYPES)}")
    return dtype, shape, (offsets[0], offsets[1])


def _sizes(value: Any) -> tuple[int, ...] | None:
    is_list = isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 62 for n in value)
    return tuple(value) if is_list else None


def json_object(data: bytes) -> dict[str, Any]:
    """Return the object that JSON text describes; raises ConfigError for anything else and for repeated names."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise ValueError("a name is repeated")
        return dict(pairs)

    try:
        value = json.loads(data, object_pairs_hook=unique)
    except (ValueError, RecursionError) as e:
        raise ConfigError(f"it has no valid JSON ({brief(e)})") from e
    if not isinstance(value, dict):
        raise ConfigError(f"it has a JSON {type(value).__name__} where an object is expected")
    return value


def read_sharded(index: Path, read: Callable[[Path], Tensors] = read_safetensors) -> Tensors:
    """Return the tensors of the shards that an index names, next to it; `read` opens one shard."""
    try:
        if require_file(index) > _MAX_INDEX_BYTES:
            raise ConfigError(f"it is larger than {_MAX_INDEX_BYTES} bytes")
        places = json_object(read_bytes(index, 0, require_file(index))).get("weight_map")
        if not isinstance(places, dict) or not places or not all(isinstance(n, str) for n in places.values()):
            raise ConfigError("it has no weight_map from tensor names to file names")
        shards = {name: _read_shard(index, name, read) for name in _shard_names(index, places)}
        for tensor, name in places.items():
            if tensor not in shards[name]:
                raise ConfigError(f"it places {tensor} in {name}, which does not contain it")
        return {tensor: shards[name][tensor] for tensor, name in places.items()}
    except ConfigError as e:
        raise e if str(index.parent) in str(e) else ConfigError(f"{index}: {e}") from e


def _shard_names(index: Path, places: Mapping[str, str]) -> list[str]:
    names = sorted(set(places.values()))
    for name in names:
        if name in ("", ".", "..") or Path(name).name != name or "\\" in name or "\0" in name:
            raise ConfigError(f"it names the shard {name!r}, which is not a file name in its own folder")
        if name == index.name:
            raise ConfigError("it names itself as a shard")
    missing = [name for name in names if not _exists(index.parent / name)]
    if missing:
        shown = ", ".join(name[:80] for name in missing[:5]) + (", …" if len(missing) > 5 else "")
        raise ConfigError(f"shards are missing ({len(missing)} of {len(names)}): {shown}; download or copy them")
    return names


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # the name is too long, for example
        return False


def _read_shard(index: Path, name: str, read: Callable[[Path], Tensors]) -> Tensors:
    return read(index.parent / name)
