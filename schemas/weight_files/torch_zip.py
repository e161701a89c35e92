"""Reads zip files written by torch, without torch and without executing code.

Such a file contains a pickle (`NAME/data.pkl`: names, shapes, strides) and one entry of raw values per storage
(`NAME/data/KEY`), none of them compressed. The pickle is read by `schemas/weight_files/safe_pickle.py`; a storage is
read when one of its tensors is needed, so an optimizer's state costs nothing. A part of a tensor is read from its place
in the file, after the checksum of its storage has been compared once.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError
from schemas.record_errors import brief
from schemas.weight_files import safe_pickle as pickles
from schemas.weight_files.safe_pickle import Callee, Entries, Ignored, shown
from schemas.weight_files.stored import Stored

_MAX_PICKLE_BYTES = 256 << 20
_MAX_ENTRIES = 200_000
_MAX_DIMS = 16  # of a tensor
_BLOCK_BYTES = 1 << 20
_LOCAL_HEADER = struct.Struct("<26xHH")  # of an entry; the lengths of its name and of its extra field
_MAX_ARGUMENTS = 16  # in the description of a storage
# What zipfile raises for damage, depending on where it is; OSError for an offset that is negative.
_DAMAGE = (
    zipfile.BadZipFile,
    OSError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    LookupError,
    ValueError,
    struct.error,
)
_STORAGES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
# Lightning and LlamaGen store objects of the training run together with the weights.
_IGNORED_PACKAGES = (
    "pytorch_lightning",
    "lightning",
    "lightning_fabric",
    "lightning_utilities",
    "omegaconf",
    "argparse",
)
_IGNORED_NAMES = (
    "collections.defaultdict",
    "collections.Counter",
    "pathlib.PosixPath",
    "torch.Size",
    "torch.device",
)


class _Storage(NamedTuple):
    dtype: np.dtype[Any]
    key: str


def read(path: Path) -> Any:
    """Return the contents of a torch file, with tensors as `Stored`.

    Raises ConfigError if the file is truncated, compressed or not written by torch, or its pickle calls a function.
    """
    try:
        z = zipfile.ZipFile(path)  # stays open while its tensors are referenced, then closes itself
        prefix = _checked_prefix(z)
        index = z.read(f"{prefix}/data.pkl")
        big = f"{prefix}/byteorder" in z.namelist() and z.read(f"{prefix}/byteorder") == b"big"
    except ConfigError:
        raise
    except _DAMAGE as e:
        raise ConfigError(f"it is not a complete zip file ({brief(e)}): download or copy it again") from e
    if big:
        raise ConfigError("its values are big-endian, which is not supported: save it again on a little-endian machine")
    tensor = Callee(partial(_tensor, z, prefix))
    names = {
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_parameter": Callee(lambda data, *_: data),
        **{f"torch.{name}": name for name in _STORAGES},
        **dict.fromkeys(_IGNORED_NAMES, Ignored),
        "numpy.core.multiarray.scalar": Callee(lambda *_: None),
        "numpy._core.multiarray.scalar": Callee(lambda *_: None),
        "builtins.set": Callee(lambda *_: None),
        "__builtin__.set": Callee(lambda *_: None),
    }
    return pickles.load(index, names=names, ignored_packages=_IGNORED_PACKAGES, storage=_storage)


def _checked_prefix(z: zipfile.ZipFile) -> str:
    """Return the folder that contains all entries of a torch file, after validating the entries."""
    infos = z.infolist()
    if len(infos) > _MAX_ENTRIES:
        raise ConfigError(f"it is a zip file of {len(infos)} entries, more than any model has")
    for info in infos:
        parts = info.filename.split("/")
        if info.filename.startswith("/") or ".." in parts or "\\" in info.filename:
            raise ConfigError(f"it is a zip file whose entry {info.filename!r} points outside of it; it was not read")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ConfigError(f"it is a zip file whose entry {info.filename!r} is compressed, which torch never writes")
    found = [info for info in infos if info.filename.endswith("/data.pkl") and info.filename.count("/") == 1]
    if len(found) != 1:
        raise ConfigError("it is a zip file not written by torch: it has no folder with a data.pkl")
    if found[0].file_size > _MAX_PICKLE_BYTES:
        raise ConfigError(f"its data.pkl has {found[0].file_size} bytes; at most {_MAX_PICKLE_BYTES} are read")
    return found[0].filename.removesuffix("/data.pkl")


def _storage(pid: Any) -> _Storage:
    is_storage = isinstance(pid, tuple) and 3 <= len(pid) <= _MAX_ARGUMENTS and pid[0] == "storage"
    type_name, key = pid[1:3] if is_storage else (None, None)
    if not isinstance(type_name, str) or type_name not in _STORAGES:
        raise ConfigError(f"storages of type {shown(type_name)} are not supported")
    if not isinstance(key, str | int) or not str(key).isalnum():
        raise ConfigError(f"storages named {shown(key)} are not supported")
    return _Storage(np.dtype(_STORAGES[type_name]), str(key))


def _tensor(z: zipfile.ZipFile, prefix: str, storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Stored:
    sizes = (shape, stride)
    if not isinstance(storage, _Storage) or not all(isinstance(s, tuple) and len(s) <= _MAX_DIMS for s in sizes):
        raise ConfigError("a tensor has no valid storage, shape or strides")
    numbers = (offset, *shape, *stride)
    if len(shape) != len(stride) or not all(type(n) is int for n in numbers):
        raise ConfigError("a tensor has no valid storage, shape or strides")
    if min(numbers) < 0:
        raise ConfigError(f"a tensor has invalid shape {list(shape)}, strides {list(stride)} or offset {offset}")
    name = f"{prefix}/data/{storage.key}"
    view = _View(name, storage.dtype, offset, shape, stride)
    is_flat = stride == tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
    part = partial(_read_part, z, view) if is_flat else None
    return Stored(tuple(shape), partial(_read_tensor, z, view), part, storage.dtype)


class _View(NamedTuple):
    """Which values of a storage a tensor has."""

    name: str  # of the storage's entry
    dtype: np.dtype[Any]
    offset: int  # values
    shape: tuple[int, ...]
    stride: tuple[int, ...]  # values


def _read_tensor(z: zipfile.ZipFile, view: _View) -> NDArray[Any]:
    """Read one tensor, after validating that its storage is large enough."""
    held = _held(z, view)
    try:
        flat = np.frombuffer(z.read(view.name), view.dtype, count=held)
    except _DAMAGE as e:
        raise _damaged(view, e) from e
    steps = tuple(step * flat.itemsize for step in view.stride)
    return np.lib.stride_tricks.as_strided(flat[view.offset :], view.shape, steps, writeable=False)


def _held(z: zipfile.ZipFile, view: _View) -> int:
    """Return the number of values of a storage; raises ConfigError if a tensor claims more."""
    held = z.getinfo(view.name).file_size // view.dtype.itemsize if view.name in z.NameToInfo else 0
    count = math.prod(list(view.shape))
    last = view.offset + sum((n - 1) * step for n, step in zip(view.shape, view.stride, strict=True))
    if count > held or (count and last >= held):
        raise ConfigError(f"a tensor of shape {list(view.shape)} claims more than the {held} values of its storage")
    return held


def _read_part(z: zipfile.ZipFile, view: _View, start: int, stop: int) -> NDArray[Any]:
    """Read the values from `start` to `stop` of a tensor in row-major order."""
    _held(z, view)
    file = z.fp
    assert file is not None
    try:
        at = _place(z, view.name) + (view.offset + start) * view.dtype.itemsize
        data = os.pread(file.fileno(), (stop - start) * view.dtype.itemsize, at)
        return np.frombuffer(data, view.dtype, count=stop - start)
    except _DAMAGE as e:
        raise _damaged(view, e) from e


def _damaged(view: _View, e: Exception) -> ConfigError:
    return ConfigError(f"its entry {view.name!r} is damaged ({brief(e)}): download or copy it again")


_INTACT: WeakKeyDictionary[zipfile.ZipFile, dict[str, int]] = WeakKeyDictionary()


def _place(z: zipfile.ZipFile, name: str) -> int:
    """Return the offset of an entry's content in the file, after comparing its checksum the first time."""
    known = _INTACT.setdefault(z, {})
    if name not in known:
        with z.open(name) as entry:
            while entry.read(_BLOCK_BYTES):
                pass  # reading to the end compares the checksum
        known[name] = _content_offset(z, z.getinfo(name).header_offset)
    return known[name]


def _content_offset(z: zipfile.ZipFile, header: int) -> int:
    assert z.fp is not None
    lengths = os.pread(z.fp.fileno(), _LOCAL_HEADER.size, header)
    name, extra = _LOCAL_HEADER.unpack(lengths)
    return header + _LOCAL_HEADER.size + int(name) + int(extra)


def weights_of(tree: Any) -> Mapping[Any, Any]:
    """Return the dictionary of weights in a training checkpoint, preferring averaged weights."""
    for key in ("ema", "model", "state_dict"):
        if isinstance(tree, dict) and isinstance(tree.get(key), dict) and tree[key]:
            return tree[key]
    return tree if isinstance(tree, dict) else Entries()
