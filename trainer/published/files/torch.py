"""Reads torch's files: `pytorch_model.bin` of Hugging Face, and the consolidated shards that Meta publishes.

Meta splits matrices over the devices of its own tensor parallelism, so a tensor has a part in every shard.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError
from schemas.weight_files import torch_zip
from schemas.weight_files.stored import Stored
from trainer.published.files.tensor import BFLOAT16, Tensor, Tensors, joined, require_file

_NAMES = {
    np.dtype(np.float32): "F32",
    np.dtype(np.float64): "F64",
    np.dtype(np.float16): "F16",
    BFLOAT16: "BF16",
    np.dtype(np.int64): "I64",
}
# Which axis Meta splits; what is not named is the same in all shards.
_SPLIT = {
    **dict.fromkeys(("wq", "wk", "wv", "w1", "w3", "output"), 0),
    **dict.fromkeys(("wo", "w2"), 1),
}


def read_torch(path: Path) -> Tensors:
    """Return the tensors of one file; raises ConfigError if it is damaged or its pickle calls a function."""
    require_file(path)
    try:
        tree = torch_zip.read(path)
        if not isinstance(tree, dict):
            raise ConfigError(f"it contains a {type(tree).__name__} instead of a dictionary of tensors")
        return {str(name): _tensor(path, value) for name, value in tree.items() if isinstance(value, Stored)}
    except ConfigError as e:
        raise ConfigError(f"{path}: {e}") from e


def _tensor(path: Path, stored: Stored) -> Tensor:
    dtype = "?" if stored.dtype is None else _NAMES.get(stored.dtype, str(stored.dtype).upper())

    def read(start: int, stop: int) -> NDArray[Any]:
        try:
            return stored.part(start, stop) if stored.part else stored.read().reshape(-1)[start:stop]
        except ConfigError as e:
            raise ConfigError(f"{path}: {e}") from e

    return Tensor(stored.shape, dtype, read)


def read_consolidated(folder: Path, *, dim: int) -> Tensors:
    """Return the tensors of `consolidated.NN.pth`, joined over the shards; `dim` is the model dim."""
    paths = sorted(folder.glob("consolidated.*.pth"))
    expected = [f"consolidated.{i:02}.pth" for i in range(len(paths))]
    if [path.name for path in paths] != expected:
        missing = sorted(set(expected) - {path.name for path in paths})
        raise ConfigError(f"{folder} lacks {', '.join(missing)}: download or copy all shards")
    shards = [read_torch(path) for path in paths]
    if len({frozenset(shard) for shard in shards}) != 1:
        raise ConfigError(f"{folder}: the shards have tensors of different names; they are not of one model")
    return {name: _joined(name, shards, dim) for name in shards[0]}


def _joined(name: str, shards: list[Mapping[str, Tensor]], dim: int) -> Tensor:
    parts = [shard[name] for shard in shards]
    kind = name.split(".")[-2] if name.endswith(".weight") else ""
    axis = _SPLIT.get(kind)
    if kind == "tok_embeddings":  # LLaMA 1 and 2 split the model dim, LLaMA 3 the vocabulary
        axis = 0 if parts[0].shape[1:] == (dim,) else 1
    if axis is None:
        return parts[0]
    if len({part.dtype for part in parts}) != 1 or len({_other(part, axis) for part in parts}) != 1:
        raise ConfigError(f"{name} has parts of different shapes or dtypes: {[part.shape for part in parts]}")
    return joined(parts, axis=axis)


def _other(part: Tensor, axis: int) -> tuple[int, ...]:
    if len(part.shape) != 2:
        return (-1,)
    return (part.shape[1 - axis],)
