"""What an import reads and writes, checked before the first value is read: which tensor fills which array."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from schemas.errors import ConfigError
from trainer.model.llama.config import LlamaConfig
from trainer.model.llama.layer import layer_weights
from trainer.published import names
from trainer.published.files.gguf import QUANTIZED
from trainer.published.files.tensor import Tensor
from trainer.published.layout import Layout
from trainer.published.source import Published

_FLOATS = ("F64", "F32", "F16", "BF16", *QUANTIZED)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A tensor of the source that fills an array of the checkpoint, or one layer of it, or its first rows."""

    name: str  # of the array
    layer: int | None
    tensor: Tensor
    layout: Layout  # of the tensor
    rows: int | None = None  # of a table: keep so many ids


def table_shapes(config: LlamaConfig, *, text_size: int, vision_size: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the parameters that are not of a layer, by name."""
    shapes: dict[str, tuple[int, ...]] = {
        names.TEXT_EMBEDDING: (text_size, config.dim),
        names.FINAL_NORM: (config.dim,),
    }
    if not config.tied_heads:
        shapes[names.TEXT_HEAD] = (text_size, config.dim)
    if vision_size:
        shapes[names.VISION_EMBEDDING] = (vision_size, config.dim)
        if not config.tied_heads:
            shapes[names.VISION_HEAD] = (vision_size, config.dim)
    return shapes


def array_shapes(config: LlamaConfig, *, text_size: int, vision_size: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all arrays of a checkpoint, by name."""
    stacked = {
        names.stacked_name(name): (config.layers, *weight.shape) for name, weight in layer_weights(config).items()
    }
    return stacked | table_shapes(config, text_size=text_size, vision_size=vision_size)


def pieces(source: Published, *, text_size: int, vision_size: int) -> list[Piece]:
    """Return what fills the arrays of a checkpoint.

    Raises ConfigError if a tensor is missing, has another shape or an unsupported dtype, or if the source has tensors
    that the model has no place for: without them it would be another model.
    """
    found = list(_pieces(source, text_size=text_size, vision_size=vision_size))
    _require_all_used(source, {source.naming.tables[name] for name in source.naming.tables} | _layer_names(source))
    return found


def _pieces(source: Published, *, text_size: int, vision_size: int) -> Iterator[Piece]:
    config, naming = source.config, source.naming
    for name, shape in table_shapes(config, text_size=text_size, vision_size=vision_size).items():
        has = source.table_rows(name)
        if name in (names.VISION_EMBEDDING, names.VISION_HEAD) and not has:
            continue  # new
        known = shape if len(shape) == 1 else (has, *shape[1:])
        published, layout = naming.of_table(name, known)
        tensor = _checked(source, published, layout)
        yield Piece(name=name, layer=None, tensor=tensor, layout=layout, rows=min(has, shape[0]) if has else None)
    for i in range(config.layers):
        for name, (published, layout) in naming.of_layer(config, i).items():
            yield Piece(name=name, layer=i, tensor=_checked(source, published, layout), layout=layout)


def _checked(source: Published, name: str, layout: Layout) -> Tensor:
    tensor = source.tensors.get(name)
    if tensor is None:
        raise ConfigError(f"{source.path} has no tensor {name}, which its configuration requires")
    if tensor.shape != layout.published:
        raise ConfigError(
            f"{source.path}: {name} must have the shape {list(layout.published)}, got {list(tensor.shape)}"
        )
    if tensor.dtype not in _FLOATS:
        raise ConfigError(
            f"{source.path}: {name} has the dtype {tensor.dtype}, which is not supported: import the original weights, "
            f"or a GGUF file in one of {', '.join(QUANTIZED)}"
        )
    return tensor


def _layer_names(source: Published) -> set[str]:
    used = (source.naming.of_layer(source.config, i).values() for i in range(source.config.layers))
    return {name for layer in used for name, _ in layer}


def _require_all_used(source: Published, used: set[str]) -> None:
    left = [name for name in source.tensors if name not in used and not name.endswith(source.naming.ignored or ("\0",))]
    if left:
        shown = ", ".join(left[:5]) + (", …" if len(left) > 5 else "")
        raise ConfigError(
            f"{source.path} has {len(left)} tensors that its configuration does not account for: {shown}. "
            "Import the weights of a supported architecture"
        )


def tensor_dtypes(source: Published) -> Mapping[str, int]:
    """Return how many tensors the source has of each dtype."""
    counts: dict[str, int] = {}
    for tensor in source.tensors.values():
        counts[tensor.dtype] = counts.get(tensor.dtype, 0) + 1
    return counts
