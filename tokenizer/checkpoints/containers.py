"""Opens a weights file of any supported container; the first bytes determine which, never the file name.

| container | first bytes | read by |
|---|---|---|
| safetensors | a length below 4 GiB, then `{` | safetensors |
| pickle of arrays (LWM) | 0x80, a protocol from 2 to 5 | `schemas/weight_files/safe_pickle.py` |
| torch's zip (taming, IBQ, LlamaGen) | `PK` | `schemas/weight_files/torch_zip.py` |
| flax msgpack (MaskGIT) | a map whose first key is a string | flax |
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import safetensors
from flax import serialization
from numpy.typing import NDArray

from schemas.errors import ConfigError
from schemas.record_errors import brief
from schemas.storage.regular import open_regular
from schemas.weight_files import safe_pickle as pickles
from schemas.weight_files import torch_zip as torch_files
from schemas.weight_files.stored import Stored
from tokenizer.checkpoints.lazy_tensor import flatten
from tokenizer.config import CONFIGS

_OLD_TORCH = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
_SUPPORTED = "safetensors, a torch zip file, a pickle of arrays, or flax msgpack"


class Contents(NamedTuple):
    """The contents of a file: the header (safetensors only), and the tensors by their published names."""

    header: dict[str, str]
    tensors: dict[str, Stored]


def read(path: Path) -> Contents:
    """Open the file at `path`.

    Raises ConfigError if it is missing, unsupported or truncated, or is a pickle that calls a function.
    """
    try:
        with open_regular(path) as f:
            head = f.read(64)
    except FileNotFoundError as e:
        raise ConfigError(f"{path} does not exist: give a name ({', '.join(CONFIGS)}) or a weights file") from e
    except OSError as e:
        if path.is_dir():
            raise ConfigError(f"{path} is a folder: give the weights file itself") from e
        raise ConfigError(f"{path} cannot be read: {brief(e)}") from e
    if not head:
        raise ConfigError(f"{path} is empty: download or copy it again")
    first, second = head[0], head[1] if len(head) > 1 else 0
    try:
        # Checked first: a length can start with the same bytes as the others, but four of its bytes are always zero.
        if head[4:9] == b"\0\0\0\0{":
            return _safetensors(path)
        if head[:4] == b"PK\x03\x04":
            return Contents({}, flatten(torch_files.weights_of(torch_files.read(path))))
        if head.startswith(_OLD_TORCH):
            raise ConfigError("it was written by torch before 1.6: load it with torch and save it again")
        if first == 0x80 and 2 <= second <= 5:
            return Contents({}, flatten(_params(pickles.load(path.read_bytes()))))
        if (
            0x81 <= first <= 0x8F and 0xA1 <= second <= 0xBF
        ):  # a map of up to 15 entries whose first key is a short string
            return Contents({}, flatten(_params(_msgpack(path.read_bytes()))))
    except ConfigError as e:
        raise ConfigError(f"{path}: {e}") from e
    raise ConfigError(f"{path} is not a supported weights file: give {_SUPPORTED}")


def _safetensors(path: Path) -> Contents:
    try:
        with safetensors.safe_open(path, framework="numpy") as f:
            names = list(f.keys())
            shapes = {name: tuple(f.get_slice(name).get_shape()) for name in names}
            header = f.metadata() or {}
    except (OSError, safetensors.SafetensorError) as e:
        raise ConfigError(f"it is not a complete safetensors file ({e}): download or copy it again") from e
    return Contents(header, {name: Stored(shapes[name], partial(_safetensor, path, name)) for name in names})


def _safetensor(path: Path, name: str) -> NDArray[Any]:
    try:
        with safetensors.safe_open(path, framework="numpy") as f:
            return f.get_tensor(name)
    except (OSError, safetensors.SafetensorError, TypeError, AttributeError, KeyError) as e:
        raise ConfigError(f"{name} cannot be read ({e})") from e


def _msgpack(data: bytes) -> Any:
    try:
        return serialization.msgpack_restore(data)
    except (msgpack.UnpackException, ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        raise ConfigError(f"it is not a complete flax msgpack file ({e}): download or copy it again") from e


def _params(tree: Any) -> Mapping[Any, Any]:
    """Return the parameters of a flax model: the tree itself, or its entry `params`."""
    if not isinstance(tree, dict):
        raise ConfigError(f"it contains a {type(tree).__name__} instead of a dictionary of parameters")
    return tree["params"] if isinstance(tree.get("params"), dict) else tree
