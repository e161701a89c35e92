"""Exports a run, or an imported model, in the format of Hugging Face or of LWM, tensor by tensor.

Hugging Face: config.json, safetensors, generation_config.json, the tokenizer's files and a model card. A model of text
and vision becomes one LlamaForCausalLM whose vision ids follow the text ids; `vision_config.json` says which are which,
and import takes its tables apart again. See docs/published_models.md for how to sample from it.

LWM: `params`, its streaming msgpack, with separate tables for text and vision.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError
from schemas.fingerprint import sha256_file
from schemas.vocab import Vocabulary
from trainer.model.llama.config import LlamaConfig
from trainer.published import names
from trainer.published.card import write_card
from trainer.published.configs.hugging_face import write_config
from trainer.published.files.writers import DTYPES, Output, Written, write_msgpack_stream, write_safetensors
from trainer.published.importing import LWM_SPARE
from trainer.published.json_files import write_plain_json
from trainer.published.layout import Layout
from trainer.published.plan import table_shapes
from trainer.published.run_facts import RunFacts
from trainer.published.source import GENERATION_CONFIG, TOKENIZER_FILES, VISION_CONFIG, tokenizer_files
from trainer.run.arrays import ArrayReader
from trainer.run.checkpoint import Weights, open_run
from trainer.run.description import Description

Format = Literal["hf", "lwm"]
ExportDtype = Literal["float32", "bfloat16", "float16"]
_MODALITIES = ((names.TEXT_EMBEDDING, names.VISION_EMBEDDING), (names.TEXT_HEAD, names.VISION_HEAD))


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Options of an export."""

    out: Path
    """Output folder; must not exist, or be empty."""
    format: Format = "hf"
    """hf: safetensors for transformers, vLLM and llama.cpp's converter; lwm: the msgpack stream of LWM's JAX code."""
    dtype: ExportDtype = "float32"
    """Type of the values. float32 keeps every bit; bfloat16 and float16 take half the space (float16: hf only)."""
    weights: Weights = "params"
    """The trained parameters (params), or their moving average (ema) of a run with --optimizer.ema-decay."""
    tokenizer: Path | None = None
    """Text tokenizer to include: its folder, or tokenizer.model or tokenizer.json. Default: that of the run."""
    shard_gb: float = 5.0
    """Size of a safetensors file, in GB, after which the next one starts."""
    scan: bool = True
    """For lwm: stack the layers, as LWM's default scan_layers expects."""

    def __post_init__(self) -> None:
        if self.format not in get_args(Format):
            raise ConfigError(f"format must be hf or lwm, got {self.format!r}")
        if self.dtype not in DTYPES or (self.format == "lwm" and self.dtype == "float16"):
            raise ConfigError(f"dtype must be float32 or bfloat16, or float16 for hf; got {self.dtype!r}")
        if not 0 < self.shard_gb < math.inf:
            raise ConfigError(f"shard_gb must be positive, got {self.shard_gb}")


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What was exported."""

    out: Path
    step: int
    parameters: int
    files: tuple[Written, ...]


def export_model(run: Path, config: ExportConfig) -> ExportResult:
    """Export the newest checkpoint of a run or of an imported model.

    Raises ConfigError if the format cannot express the model or `out` is not empty, DatasetError if the checkpoint is
    damaged, StorageError if the disk is full.
    """
    if config.out.exists() and (not config.out.is_dir() or any(config.out.iterdir())):
        raise ConfigError(f"{config.out} exists and is not an empty folder: choose another --out")
    facts = RunFacts.of(run)
    with open_run(run) as checkpoints:
        step = checkpoints.newest()
        about = checkpoints.describe(step)
        model = _llama(about)
        tokenizer = _tokenizer(config, facts, about.vocabulary)
        tables = _Tables(model, about.vocabulary)
        make = _lwm_outputs if config.format == "lwm" else _hf_outputs
        if config.format == "hf":  # raises before anything is written if the model has no architecture there
            _hf_config(model, about.vocabulary, dtype=config.dtype)
        outputs = make(checkpoints.open_params(step, weights=config.weights), tables, scan=config.scan)
        config.out.mkdir(parents=True, exist_ok=True)
        if config.format == "lwm":
            files = [write_msgpack_stream(config.out / "params", outputs, dtype=config.dtype)]
        else:
            shard_bytes = int(config.shard_gb * 1e9)
            files = write_safetensors(config.out, outputs, dtype=config.dtype, shard_bytes=shard_bytes)
            _write_hf_files(config, model, about.vocabulary, facts, tokenizer)
    for path in tokenizer:
        (config.out / path.name).write_bytes(path.read_bytes())
    write_card(config.out, about=about, step=step, facts=facts, files=files, parameters=tables.parameters)
    return ExportResult(out=config.out, step=step, parameters=tables.parameters, files=tuple(files))


def _llama(about: Description) -> LlamaConfig:
    if not isinstance(about.model, LlamaConfig):
        raise ConfigError(f"models of {type(about.model).__name__} have no published format")
    return about.model


class _Tables:
    """The shapes of a model's parameters."""

    def __init__(self, model: LlamaConfig, vocabulary: Vocabulary) -> None:
        self.model, self.vocabulary = model, vocabulary
        sizes = {"text_size": vocabulary.text_size, "vision_size": vocabulary.vision_size}
        self.shapes = table_shapes(model, **sizes)

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        layer = sum(math.prod(layout.shape) for _, layout in names.HUGGING_FACE.of_layer(self.model, 0).values())
        return self.model.layers * layer + sum(map(math.prod, self.shapes.values()))


def _hf_outputs(arrays: ArrayReader, tables: _Tables, *, scan: bool) -> list[Output]:
    del scan
    naming, model = names.HUGGING_FACE, tables.model
    outputs = []
    for text, vision in _MODALITIES:
        shapes = {name: tables.shapes[name] for name in (text, vision) if name in tables.shapes}
        if shapes:
            parts = [(name, None, naming.of_table(text, shape)[1]) for name, shape in shapes.items()]
            joint = (sum(shape[0] for shape in shapes.values()), model.dim)
            outputs.append(_output(naming.tables[text], joint, arrays, parts))
    published, layout = naming.of_table(names.FINAL_NORM, tables.shapes[names.FINAL_NORM])
    outputs.append(_output(published, layout.published, arrays, [(names.FINAL_NORM, None, layout)]))
    for name in naming.of_layer(model, 0):  # array by array, as the reader expects
        for i in range(model.layers):
            published, layout = naming.of_layer(model, i)[name]
            outputs.append(_output(published, layout.published, arrays, [(name, i, layout)]))
    return outputs


def _lwm_outputs(arrays: ArrayReader, tables: _Tables, *, scan: bool) -> list[Output]:
    naming, model = names.LWM, tables.model
    _require_lwm(model)
    outputs = []
    for name, shape in tables.shapes.items():
        published, layout = naming.of_table(name, shape)
        spare = -shape[0] % LWM_SPARE if name in (names.VISION_EMBEDDING, names.VISION_HEAD) else 0
        outputs.append(_with_spare(_output(published, layout.published, arrays, [(name, None, layout)]), layout, spare))
    for name in naming.of_layer(model, 0):
        layers = [naming.of_layer(model, i)[name] for i in range(model.layers)]
        if scan:
            published = layers[0][0].replace("/h/0/", "/h/scan_decoder/")
            parts = [(name, i, layout) for i, (_, layout) in enumerate(layers)]
            outputs.append(_output(published, (model.layers, *layers[0][1].published), arrays, parts))
        else:
            for i, (published, layout) in enumerate(layers):
                outputs.append(_output(published, layout.published, arrays, [(name, i, layout)]))
    return outputs


def _require_lwm(model: LlamaConfig) -> None:
    wrong = {
        "kv_heads": model.kv_heads != model.heads,
        "head_dim": model.head_dim * model.heads != model.dim,
        "tied_heads": model.tied_heads,
        "qkv_bias": model.qkv_bias,
        "qk_norm": model.qk_norm,
        "rope_scaling": model.rope_scaling is not None,
    }
    if found := [f"{name} = {getattr(model, name)}" for name, is_wrong in wrong.items() if is_wrong]:
        raise ConfigError(f"LWM's code cannot express a model with {', '.join(found)}: export it with --format hf")


def _output(
    name: str, shape: tuple[int, ...], arrays: ArrayReader, parts: Sequence[tuple[str, int | None, Layout]]
) -> Output:
    return Output(name=name, shape=shape, blocks=partial(_blocks, arrays, parts))


def _blocks(arrays: ArrayReader, parts: Sequence[tuple[str, int | None, Layout]]) -> Iterator[NDArray[Any]]:
    """Yield published rows of arrays, or of layers of them, one after another."""
    for name, layer, layout in parts:
        for start, stop in layout.blocks(layout.step):
            region = layout.region(start, stop)
            yield layout.to_rows(arrays.read(name, region if layer is None else (layer, *region)))


def _with_spare(output: Output, layout: Layout, spare: int) -> Output:
    """Add ids that are never used, with values of 0, to a table, as LWM's have them."""
    if not spare:
        return output
    rows, columns = output.shape
    if not layout.transposed:

        def longer() -> Iterator[NDArray[Any]]:
            yield from output.blocks()
            yield np.zeros((spare, columns), np.float32)

        return Output(name=output.name, shape=(rows + spare, columns), blocks=longer)

    def wider() -> Iterator[NDArray[Any]]:
        for block in output.blocks():
            yield np.pad(block, [(0, 0), (0, spare)])

    return Output(name=output.name, shape=(rows, columns + spare), blocks=wider)


def _tokenizer(config: ExportConfig, facts: RunFacts, vocabulary: Vocabulary) -> list[Path]:
    """Return the files of the text tokenizer; raises ConfigError if they are not those of the model."""
    if config.tokenizer is None:
        return facts.tokenizer_files(vocabulary.text_sha256)
    path = config.tokenizer
    files = tokenizer_files(path) if path.is_dir() else [path] if path.is_file() else []
    main = [x for x in files if x.name in TOKENIZER_FILES]
    if not main:
        raise ConfigError(f"{path} is not a text tokenizer: it must be or contain {' or '.join(TOKENIZER_FILES)}")
    found = [sha256_file(x) for x in main]
    if vocabulary.text_sha256 and vocabulary.text_sha256 not in found:
        raise ConfigError(
            f"{main[0]} is not the text tokenizer of the model: its hash is {found[0][:12]}…, "
            f"the model has {vocabulary.text_sha256[:12]}…"
        )
    return files


def _hf_config(model: LlamaConfig, vocabulary: Vocabulary, *, dtype: str) -> dict[str, Any]:
    return write_config(
        model, vocab_size=vocabulary.size, bos_id=vocabulary.bos_id, eos_id=vocabulary.eos_id, dtype=dtype
    )


def _write_hf_files(
    config: ExportConfig, model: LlamaConfig, vocabulary: Vocabulary, facts: RunFacts, tokenizer: list[Path]
) -> None:
    out = config.out
    write_plain_json(out / "config.json", _hf_config(model, vocabulary, dtype=config.dtype))
    if not any(path.name == GENERATION_CONFIG for path in tokenizer):
        ids = {"bos_token_id": vocabulary.bos_id, "eos_token_id": vocabulary.eos_id}
        write_plain_json(out / GENERATION_CONFIG, ids)
    if vocabulary.vision_size:
        values = {
            "text_size": vocabulary.text_size,
            "vision_size": vocabulary.vision_size,
            "eof_id": vocabulary.eof,
            "eov_id": vocabulary.eov,
            "frame_grid": facts.frame_grid,
            "softmax": model.softmax,
            "vocabulary": vocabulary.to_dict(),
        }
        write_plain_json(out / VISION_CONFIG, values)
