"""Writes the arrays of an imported model in blocks of 16 MB, in chunks that each device of a mesh reads alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jax.sharding import AbstractMesh, AxisType

from schemas.runs.count_progress import CountProgress
from schemas.vocab import Vocabulary
from trainer.config import MeshConfig
from trainer.mesh import AXES, partition
from trainer.model.llama.config import LlamaConfig
from trainer.model.llama.layer import layer_weights, norm_weight, table_weight
from trainer.published import names
from trainer.published.layout import BLOCK_BYTES
from trainer.published.plan import Piece, array_shapes
from trainer.published.tables import NewRows, known_rows
from trainer.run.arrays import ArrayWriter


def write_arrays(
    folder: Path, model: LlamaConfig, found: Sequence[Piece], vocabulary: Vocabulary, *, mesh: MeshConfig, seed: int
) -> None:
    """Write all arrays of a checkpoint: what the pieces of the source fill, and new rows of tables for the rest."""
    sizes = {"text_size": vocabulary.text_size, "vision_size": vocabulary.vision_size}
    shards = _shard_shapes(model, mesh, **sizes)
    writer = ArrayWriter(folder)
    first = {piece.name: piece for piece in reversed(found)}
    shapes = array_shapes(model, **sizes)
    for name, shape in shapes.items():
        writer.create(name, shape, chunks=_chunks(shards[name], first.get(name)))
    progress, done = CountProgress("import-model", sum(map(math.prod, shapes.values())), "parameters"), 0
    for piece in found:
        for index, block in _blocks(piece):
            writer.write(piece.name, index, block)
            done += block.size
            progress.show(done)
    for name, (start, size, new) in _new_rows(model, found, vocabulary, seed).items():
        step = max(1, BLOCK_BYTES // (4 * model.dim))
        for a in range(start, size, step):
            b = min(a + step, size)
            writer.write(name, (slice(a, b), slice(0, model.dim)), new.rows(a, b))
            done += (b - a) * model.dim
            progress.show(done)
    writer.finish()
    progress.close(done)


def _blocks(piece: Piece) -> Iterator[tuple[tuple[slice | int, ...], Any]]:
    """Yield the parts of an array that a piece fills, and their index."""
    layout = piece.layout
    for start, stop in layout.blocks(layout.step):
        if piece.rows is not None and layout.split == 0:
            stop = min(stop, piece.rows)  # the other rows of a larger table are dropped
            if start >= stop:
                return
        rows = piece.tensor.rows(start * layout.unit, stop * layout.unit)
        region = layout.region(start, stop)
        block = layout.from_rows(rows)
        if piece.rows is not None and layout.split != 0:
            block, region = block[: piece.rows], (slice(0, piece.rows), *region[1:])
        yield (region if piece.layer is None else (piece.layer, *region)), block


def _new_rows(
    model: LlamaConfig, found: Sequence[Piece], vocabulary: Vocabulary, seed: int
) -> dict[str, tuple[int, int, NewRows]]:
    """Return, for every table that the source does not fill, its first new row, its size, and the new rows."""
    filled = {piece.name: piece for piece in found}
    sizes = {"text": vocabulary.text_size, "vision": vocabulary.vision_size}
    made: dict[str, tuple[int, int, NewRows]] = {}
    for name in array_shapes(model, text_size=sizes["text"], vision_size=sizes["vision"]):
        modality, _, kind = name.partition("_")
        if kind not in ("embedding", "head"):
            continue
        piece, size = filled.get(name), sizes[modality]
        start = (piece.rows or 0) if piece else 0
        if start < size:
            like = filled[f"text_{kind}"]
            known = known_rows(like.tensor, like.layout)
            made[name] = (start, size, NewRows(table=name, known=known, seed=seed))
    return made


def _shard_shapes(
    model: LlamaConfig, mesh: MeshConfig, *, text_size: int, vision_size: int
) -> dict[str, tuple[int, ...]]:
    """Return the part of each array that a device of the mesh has."""
    sizes = tuple(1 if size == -1 else size for size in (mesh.data, mesh.fsdp, mesh.tensor, mesh.sequence))
    devices = AbstractMesh(sizes, AXES, axis_types=(AxisType.Auto,) * len(AXES))
    model.require_mesh(devices.shape)
    stacked = {names.stacked_name(name): weight.stacked(model.layers) for name, weight in layer_weights(model).items()}
    dims = {name: weight.dims for name, weight in stacked.items()} | {names.FINAL_NORM: norm_weight(model.dim).dims}
    table = table_weight(text_size, model.dim).dims
    shapes = array_shapes(model, text_size=text_size, vision_size=vision_size)
    return {
        name: _divided(shape, partition(dims.get(name, table), shape, devices), devices.shape)
        for name, shape in shapes.items()
    }


def _divided(shape: tuple[int, ...], spec: Any, sizes: Any) -> tuple[int, ...]:
    return tuple(
        size // math.prod(sizes[axis] for axis in (axes if isinstance(axes, tuple) else (axes,)) if axis)
        for size, axes in zip(shape, spec, strict=True)
    )


def _chunks(shard: tuple[int, ...], piece: Piece | None) -> tuple[int, ...]:
    """Return the chunks of an array: a device's part, divided into the blocks in which it is written."""
    if piece is None:  # a new table
        return (min(shard[0], max(1, BLOCK_BYTES // (4 * shard[1]))), *shard[1:])
    offset = 0 if piece.layer is None else 1
    chunks = [1] * offset + list(shard[offset:])
    split = piece.layout.split + offset
    chunks[split] = _even_part(shard[split], piece.layout.step)
    return tuple(chunks)


def _even_part(size: int, most: int) -> int:
    """Return the largest divisor of `size` up to `most`; `most` itself if that would be much smaller."""
    best = next(n for n in range(min(size, most), 0, -1) if size % n == 0)
    return best if 4 * best >= min(size, most) else min(size, most)
