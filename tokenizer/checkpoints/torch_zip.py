"""Read the zip files that torch writes, without torch, and execute nothing.

Such a file is a zip of a pickle (`NAME/data.pkl`: names, shapes, strides) and one entry of raw numbers for each
storage (`NAME/data/KEY`), none of them compressed. The pickle is read as in `tokenizer/checkpoints/safe_pickle.py`; a
storage is read when one of its tensors is wanted, so an optimizer's state costs nothing.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError
from tokenizer.checkpoints import safe_pickle as pickles
from tokenizer.checkpoints.lazy_tensor import Stored
from tokenizer.checkpoints.safe_pickle import Door, Entries, PassedOver

_MAX_PICKLE_BYTES = 256 << 20
_MAX_ENTRIES = 200_000
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
# Lightning and LlamaGen put a training run's objects beside the weights.
_PASSED_OVER = ("pytorch_lightning", "lightning", "lightning_fabric", "lightning_utilities", "omegaconf", "argparse")
_MORE_PASSED_OVER = (
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
    """Return what a torch file holds, each tensor as `Stored`.

    Raises ConfigError for a file that is cut short, compressed, no torch file, or whose pickle calls anything.
    """
    try:
        z = zipfile.ZipFile(path)  # open as long as a tensor of it can be read; it closes itself
        prefix = _checked_prefix(z)
        index = z.read(f"{prefix}/data.pkl")
        big = f"{prefix}/byteorder" in z.namelist() and z.read(f"{prefix}/byteorder") == b"big"
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError, ValueError) as e:
        raise ConfigError(f"it is not a whole zip file ({e}): download or copy it again") from e
    if big:
        raise ConfigError("its numbers are big-endian, which is not read: save it again on a usual machine")
    tensor = Door(partial(_tensor, z, prefix))
    names = {
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_parameter": Door(lambda data, *_: data),
        **{f"torch.{name}": name for name in _STORAGES},
        **dict.fromkeys(_MORE_PASSED_OVER, PassedOver),
        "numpy.core.multiarray.scalar": Door(lambda *_: None),
        "numpy._core.multiarray.scalar": Door(lambda *_: None),
        "builtins.set": Door(lambda *_: None),
        "__builtin__.set": Door(lambda *_: None),
    }
    return pickles.load(index, names=names, passed_over=_PASSED_OVER, storage=_storage)


def _checked_prefix(z: zipfile.ZipFile) -> str:
    """Return the folder that all of a torch file's entries stand in."""
    infos = z.infolist()
    if len(infos) > _MAX_ENTRIES:
        raise ConfigError(f"it is a zip file of {len(infos)} entries, which no VQGAN has")
    for info in infos:
        parts = info.filename.split("/")
        if info.filename.startswith("/") or ".." in parts or "\\" in info.filename:
            raise ConfigError(f"it is a zip file whose entry {info.filename!r} leads out of it, and was not read")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ConfigError(f"it is a zip file whose entry {info.filename!r} is compressed: torch writes none such")
    found = [info for info in infos if info.filename.endswith("/data.pkl") and info.filename.count("/") == 1]
    if len(found) != 1:
        raise ConfigError("it is a zip file, but not of torch: there is no data.pkl in one folder")
    if found[0].file_size > _MAX_PICKLE_BYTES:
        raise ConfigError(
            f"its data.pkl has {found[0].file_size} bytes, more than the {_MAX_PICKLE_BYTES} that are read"
        )
    return found[0].filename.removesuffix("/data.pkl")


def _storage(pid: Any) -> _Storage:
    kind, type_name, key, *_ = pid
    if kind != "storage" or type_name not in _STORAGES or not str(key).isalnum():
        raise ConfigError(f"a storage of the kind {pid!r} is not read")
    return _Storage(np.dtype(_STORAGES[type_name]), str(key))


def _tensor(z: zipfile.ZipFile, prefix: str, storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Stored:
    numbers = (offset, *shape, *stride)
    if not isinstance(storage, _Storage) or len(shape) != len(stride) or not all(type(n) is int for n in numbers):
        raise ConfigError("a tensor without storage, shape or strides is not read")
    if min(numbers) < 0:
        raise ConfigError(
            f"a tensor of the shape {list(shape)}, strides {list(stride)} and offset {offset} is not read"
        )
    read = partial(_read_tensor, z, f"{prefix}/data/{storage.key}", storage.dtype, offset, shape, stride)
    return Stored(tuple(shape), read)


def _read_tensor(
    z: zipfile.ZipFile,
    name: str,
    dtype: np.dtype[Any],
    offset: int,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
) -> NDArray[Any]:
    """Read one tensor, after checking that its storage has that many numbers."""
    held = z.getinfo(name).file_size // dtype.itemsize if name in z.NameToInfo else 0
    count = math.prod(list(shape))
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if count > held or (count and last >= held):
        raise ConfigError(f"a tensor of the shape {list(shape)} claims more than the {held} numbers of its storage")
    try:
        flat = np.frombuffer(z.read(name), dtype, count=held)
    except (zipfile.BadZipFile, EOFError, KeyError, ValueError) as e:
        raise ConfigError(f"its entry {name!r} is damaged ({e}): download or copy it again") from e
    steps = tuple(step * flat.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps, writeable=False)


def weights_of(tree: Any) -> Mapping[Any, Any]:
    """Return the dictionary of weights in a training checkpoint: averaged ones before the last ones."""
    for key in ("ema", "model", "state_dict"):
        if isinstance(tree, dict) and isinstance(tree.get(key), dict) and tree[key]:
            return tree[key]
    return tree if isinstance(tree, dict) else Entries()
