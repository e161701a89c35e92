"""Reads the tensors of a GGUF file; quantized ones are dequantized by the package `gguf`, some rows at a time."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError
from schemas.weight_files.gguf import GgufHeader, GgufTensor, Value, read_header
from trainer.published.files.tensor import BFLOAT16, Tensor, Tensors, in_file, read_bytes, require_file

_PLAIN = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": BFLOAT16, "F64": np.dtype("<f8")}
QUANTIZED = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K")


class GgufFile(NamedTuple):
    """The metadata and the tensors of a file."""

    metadata: dict[str, Value]
    tensors: Tensors


def read_gguf(path: Path) -> GgufFile:
    """Open a file; raises ConfigError if its tensors overlap, exceed it, or have an unsupported type."""
    size, header = require_file(path), read_header(path)
    try:
        _require_apart(header, size)
        return GgufFile(header.metadata, {name: _tensor(path, name, x) for name, x in header.tensors.items()})
    except ConfigError as e:
        raise ConfigError(f"{path}: {e}") from e


def _require_apart(header: GgufHeader, size: int) -> None:
    place = 0
    for name, tensor in sorted(header.tensors.items(), key=lambda item: item[1].offset):
        end = tensor.offset + _byte_count(name, tensor)
        if tensor.offset < place:
            raise ConfigError(f"the values of {name[:80]!r} overlap those of another tensor")
        if end > size:
            raise ConfigError(f"the values of {name[:80]!r} end at {end}, after the end of the file at {size}")
        place = end


def _byte_count(name: str, tensor: GgufTensor) -> int:
    block, size = _block(name, tensor)
    if not tensor.shape or tensor.shape[-1] % block:
        raise ConfigError(f"{name[:80]!r} of shape {tensor.shape} is not a whole number of blocks of {block} values")
    return math.prod(tensor.shape) // block * size


def _block(name: str, tensor: GgufTensor) -> tuple[int, int]:
    """Return the number of values of a block, and its bytes."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        kind = GGMLQuantizationType(tensor.type_id)
    except ValueError:
        kind = None
    if kind is None or kind.name not in (*_PLAIN, *QUANTIZED):
        shown = kind.name if kind else f"number {tensor.type_id}"
        raise ConfigError(
            f"{name[:80]!r} has the type {shown}; supported are {', '.join((*_PLAIN, *QUANTIZED))}. "
            "llama.cpp's llama-quantize converts it"
        )
    block, size = GGML_QUANT_SIZES[kind]
    return int(block), int(size)


def _tensor(path: Path, name: str, tensor: GgufTensor) -> Tensor:
    from gguf import GGMLQuantizationType

    kind = GGMLQuantizationType(tensor.type_id).name
    if kind in _PLAIN:
        return in_file(path, tensor.offset, tensor.shape, _PLAIN[kind], name=kind)
    block, size = _block(name, tensor)
    return Tensor(tensor.shape, kind, partial(_dequantized, path, tensor, block, size))


def _dequantized(path: Path, tensor: GgufTensor, block: int, size: int, start: int, stop: int) -> NDArray[Any]:
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    data = read_bytes(path, tensor.offset + start // block * size, (stop - start) // block * size)
    rows = np.frombuffer(data, np.uint8).reshape(-1, size)
    values: NDArray[Any] = dequantize(rows, GGMLQuantizationType(tensor.type_id))
    return values.reshape(-1)
