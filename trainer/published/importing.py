"""Imports a published model as a checkpoint, tensor by tensor.

    OUT/checkpoints/0/      parameters and description, as of a training run at step 0; it has no optimizer
    OUT/text_tokenizer/     the files of the text tokenizer: the dataset's, or else the source's (of a GGUF file, too)
    OUT/import.json         where the model came from (files, sizes, SHA-256), and what was done to its tables

Blocks of 16 MB are read, converted to float32 and written, so memory does not depend on the model's size. The folder
`checkpoints` appears when everything is complete.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jax.sharding import AbstractMesh, AxisType

from schemas.dataset import read_card
from schemas.dataset_files import TEXT_TOKENIZER
from schemas.errors import ConfigError, storage_errors
from schemas.files import write_json
from schemas.fingerprint import sha256_file
from schemas.runs.checksums import write_checksums
from schemas.runs.folder_lock import locked_folder
from schemas.storage.location import located
from schemas.storage.option import Address, NewFolder
from schemas.vocab import Vocabulary
from trainer.config import MeshConfig
from trainer.mesh import AXES, partition
from trainer.model.llama.config import LlamaConfig
from trainer.model.llama.layer import layer_weights, norm_weight, table_weight
from trainer.published import names
from trainer.published.layout import BLOCK_BYTES
from trainer.published.plan import Piece, array_shapes, pieces, tensor_dtypes
from trainer.published.source import Published, open_source
from trainer.published.source_tokenizer import SourceTokenizer, read_source_tokenizer
from trainer.published.tables import NewRows, known_rows
from trainer.run.arrays import ArrayWriter
from trainer.run.checkpoint import CHECKPOINTS
from trainer.run.description import Description

RECORD = "import.json"
_UNFINISHED = ".import-unfinished"
_LWM_VISION, _LWM_CODES = 8448, 8192  # rows of LWM's vision tables, of which 254 are spare
LWM_SPARE = 256  # LWM's vision tables have a multiple of this many rows
_NOT_IDENTIFIED = ""  # the hash of a tokenizer that is not in the source


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """Options of an import."""

    out: NewFolder
    """Output folder, to be given to `longreel train --init-from` and `longreel generate --model`."""
    dataset: Address | None = None
    """Packed dataset whose vocabulary the model gets: text rows are added or dropped, vision rows are new unless the
    source has them. Needed to train on that dataset."""
    vision_size: int | None = None
    """Number of vision codes, without a dataset. Default: those of the source; none if it has only text."""
    other_tokenizer: bool = False
    """Import although the dataset was encoded with another text tokenizer than the source's. Text rows keep their ids,
    which then stand for other pieces."""
    heads: int | None = None
    """Number of attention heads, for LWM's files, which do not contain it. Default: heads of 128."""
    rope_theta: float | None = None
    """Base of the rotary angles. Default: the source's; 5e7 for LWM's files, which do not contain it."""
    seed: int = 0
    """Random seed for new rows of tables."""
    mesh: MeshConfig = field(default_factory=MeshConfig)
    """Mesh that the arrays are divided for, so that each device reads its own chunks. The import itself needs no
    devices, and the checkpoint can be restored on any mesh."""

    def __post_init__(self) -> None:
        if self.dataset is not None and self.vision_size is not None:
            raise ConfigError("give either --dataset or --vision-size: a dataset determines the number of vision codes")
        if self.vision_size is not None and self.vision_size < 0:
            raise ConfigError(f"vision_size must not be negative, got {self.vision_size}")
        if self.heads is not None and self.heads < 1:
            raise ConfigError(f"heads must be at least 1, got {self.heads}")
        if self.rope_theta is not None and not 1 < self.rope_theta < math.inf:
            raise ConfigError(f"rope_theta must be greater than 1, got {self.rope_theta}")
        if not 0 <= self.seed < 1 << 32:
            raise ConfigError(f"seed must lie in 0..2**32-1, got {self.seed}")


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """What was imported."""

    checkpoint: Path
    parameters: int
    account: tuple[str, ...]  # what was done, one line each


def import_model(source: str, config: ImportConfig) -> ImportResult:
    """Write a published model as a checkpoint.

    Raises ConfigError if the source is malformed or not supported, or `out` has a checkpoint; StorageError if the disk
    is full.
    """
    if (config.out / CHECKPOINTS).exists():
        raise ConfigError(f"{config.out} already has a folder {CHECKPOINTS}/: choose another --out")
    with locked_folder(config.out):
        return _import(source, config)


def _import(source: str, config: ImportConfig) -> ImportResult:
    published = open_source(source, heads=config.heads, rope_theta=config.rope_theta)
    known = read_card(config.dataset).vocabulary if config.dataset is not None else published.vocabulary
    tokenizer = read_source_tokenizer(published, wanted=known.text_sha256 if known else "")
    vocabulary = _vocabulary(published, tokenizer, config)
    sizes = {"text_size": vocabulary.text_size, "vision_size": vocabulary.vision_size}
    found = pieces(published, **sizes)
    model = _model(published, vocabulary)
    account = [*_account(published, vocabulary), *_tokenizer_account(tokenizer, vocabulary)]
    work = config.out / _UNFINISHED
    with storage_errors(config.out):
        shutil.rmtree(work, ignore_errors=True)
        step = work / "0"
        (step / "params").mkdir(parents=True)
        _write_arrays(step / "params", model, found, vocabulary, config)
        _write_description(step, model, vocabulary, config.seed)
        _write_tokenizer(tokenizer, config)
        _write_record(config.out, source, published, account)
        work.rename(config.out / CHECKPOINTS)
    parameters = sum(math.prod(shape) for shape in array_shapes(model, **sizes).values())
    return ImportResult(checkpoint=config.out / CHECKPOINTS / "0", parameters=parameters, account=tuple(account))


def _model(published: Published, vocabulary: Vocabulary) -> LlamaConfig:
    """Return the model; with new vision ids the source's softmax over text becomes one over all ids."""
    has_vision = published.table_rows(names.VISION_EMBEDDING) > 0
    return published.config if has_vision and vocabulary.vision_size else replace(published.config, softmax="joint")


def _vocabulary(published: Published, tokenizer: SourceTokenizer, config: ImportConfig) -> Vocabulary:
    if config.dataset is not None:
        found = read_card(config.dataset).vocabulary
        if tokenizer.sha256 and found.text_sha256 not in tokenizer.hashes and not config.other_tokenizer:
            raise ConfigError(
                f"{config.dataset} was encoded with the text tokenizer {found.text_sha256[:12]}…, the source has "
                f"{tokenizer.sha256[:12]}…: its text ids would stand for other pieces. Tokenize and pack with the "
                "source's tokenizer, or give --other-tokenizer to train new meanings"
            )
        return found
    if published.vocabulary is not None and config.vision_size is None:
        converted = published.kind == "gguf" and tokenizer.sha256
        return replace(published.vocabulary, text_sha256=tokenizer.sha256) if converted else published.vocabulary
    return _vocabulary_of_source(published, tokenizer, config.vision_size)


def _vocabulary_of_source(published: Published, tokenizer: SourceTokenizer, codes: int | None) -> Vocabulary:
    text_size, rows = published.table_rows(names.TEXT_EMBEDDING), published.table_rows(names.VISION_EMBEDDING)
    if codes is None:
        codes = _codes_of(published, rows)
    bos, eos = published.bos_id, published.eos_id
    ends = [i for i in (bos, eos) if i is not None and i < text_size] or [0]
    return Vocabulary(
        text_size=text_size,
        codebook_size=codes,
        bos_id=ends[0],
        eos_id=ends[-1],
        begin_vision=(),
        end_vision=(),
        text_sha256=tokenizer.sha256,
        vision_sha256=_NOT_IDENTIFIED,
    )


def _codes_of(published: Published, rows: int) -> int:
    """Return the number of codes in vision tables of `rows`; raises ConfigError if LWM's spare rows hide it."""
    if rows == _LWM_VISION:
        return _LWM_CODES
    if published.kind == "lwm" and rows and rows % LWM_SPARE == 0:
        raise ConfigError(
            f"{published.path}: of the {rows} rows of the vision tables some may be spare, so the number of codes does "
            "not follow: give --vision-size, or --dataset"
        )
    return max(rows - 2, 0)


def _write_arrays(
    folder: Path, model: LlamaConfig, found: list[Piece], vocabulary: Vocabulary, config: ImportConfig
) -> None:
    sizes = {"text_size": vocabulary.text_size, "vision_size": vocabulary.vision_size}
    shards = _shard_shapes(model, config.mesh, **sizes)
    writer = ArrayWriter(folder)
    first = {piece.name: piece for piece in reversed(found)}
    for name, shape in array_shapes(model, **sizes).items():
        writer.create(name, shape, chunks=_chunks(shards[name], first.get(name)))
    for piece in found:
        for index, block in _blocks(piece):
            writer.write(piece.name, index, block)
    for name, (start, size, new) in _new_rows(model, found, vocabulary, config.seed).items():
        step = max(1, BLOCK_BYTES // (4 * model.dim))
        for a in range(start, size, step):
            b = min(a + step, size)
            writer.write(name, (slice(a, b), slice(0, model.dim)), new.rows(a, b))
    writer.finish()


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
    model: LlamaConfig, found: list[Piece], vocabulary: Vocabulary, seed: int
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


def _write_description(step: Path, model: LlamaConfig, vocabulary: Vocabulary, seed: int) -> None:
    about = Description(
        model=model,
        vocabulary=vocabulary,
        context_length=model.max_positions,
        dataset_fingerprint="imported",
        batch_size=1,
        seed=seed,
    )
    (step / "description").mkdir()
    (step / "description" / "metadata").write_text(json.dumps(about.to_dict()))
    (step / "_CHECKPOINT_METADATA").write_text(json.dumps({"item_handlers": {}, "custom_metadata": {}}))
    write_checksums(step, ("params", "description"))


def _write_tokenizer(tokenizer: SourceTokenizer, config: ImportConfig) -> None:
    files = tokenizer.files
    if config.dataset is not None:
        folder = read_card(config.dataset).text_tokenizer_folder(config.dataset)
        files = {file.name: file.read() for file in folder.list()} if folder else {}
    for name, data in files.items():
        located(config.out / TEXT_TOKENIZER / name).write(data)


def _write_record(out: Path, source: str, published: Published, account: list[str]) -> None:
    files = [{"name": x.name, "bytes": x.stat().st_size, "sha256": sha256_file(x)} for x in published.files]
    write_json(out / RECORD, {"source": source, "format": published.kind, "files": files, "account": account})


def _account(published: Published, vocabulary: Vocabulary) -> list[str]:
    """Say what is read, and what becomes of the tables."""
    dtypes = ", ".join(f"{count} {name}" for name, count in sorted(tensor_dtypes(published).items()))
    lines = [f"{len(published.tensors)} tensors of {published.kind} ({dtypes}) converted to float32"]
    tables = [(names.TEXT_EMBEDDING, vocabulary.text_size), (names.VISION_EMBEDDING, vocabulary.vision_size)]
    for name, size in tables:
        modality, rows = name.split("_")[0], published.table_rows(name)
        if not size and rows:
            lines.append(f"{modality} tables: all {rows} rows of the source are dropped")
        elif size and not rows:
            lines.append(f"{modality} tables: the source has none; {size} rows are new")
        elif rows < size:
            lines.append(f"{modality} tables: {rows} rows of the source; rows {rows} to {size - 1} are new")
        elif rows > size:
            lines.append(f"{modality} tables: rows 0 to {size - 1} of the source; its {rows - size} others are dropped")
        elif size:
            lines.append(f"{modality} tables: all {rows} rows of the source")
    return lines


def _tokenizer_account(tokenizer: SourceTokenizer, vocabulary: Vocabulary) -> list[str]:
    """Say where the text tokenizer comes from, if that is not the source."""
    known = tokenizer.sha256
    if known and vocabulary.text_sha256 not in tokenizer.hashes:
        return [f"the text tokenizer is not the source's {known[:12]}…: ids stand for other pieces than before"]
    if not known and not vocabulary.text_sha256:
        return [f"no text tokenizer, so `generate` and `chat` cannot use the model: {tokenizer.missing}"]
    return []
