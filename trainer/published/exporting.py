"""Exports a run, or an imported model, in the format of Hugging Face, of llama.cpp or of LWM, tensor by tensor.

Hugging Face: config.json, safetensors, generation_config.json, the tokenizer's files and a model card. llama.cpp:
`model.gguf` with the tokenizer in it. In both, a model of text and vision has one vocabulary whose vision ids follow
the text ids; `vision_config.json`, or a field of the GGUF file, says which are which, and import takes its tables apart
again. See docs/published_models.md for how to sample from it.

LWM: `params`, its streaming msgpack, with separate tables for text and vision.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from numpy.typing import NDArray

from schemas.errors import ConfigError
from schemas.fingerprint import sha256_file
from schemas.runs.count_progress import CountProgress
from schemas.runs.folder_lock import LOCK, locked_folder
from schemas.storage.option import NewFolder
from schemas.vocab import Vocabulary
from schemas.weight_files.gguf import Value
from schemas.weight_files.gguf_vocabulary import vocabulary_metadata
from trainer.config import Weights
from trainer.model.llama.config import LlamaConfig
from trainer.published import names
from trainer.published.card import write_card
from trainer.published.configs import gguf as gguf_config
from trainer.published.configs.hugging_face import write_config
from trainer.published.files.gguf_writer import write_gguf
from trainer.published.files.safetensors import json_object
from trainer.published.files.writers import DTYPES, Output, Written, write_msgpack_stream, write_safetensors
from trainer.published.json_files import write_plain_json
from trainer.published.outputs import Tables, joint_outputs, lwm_outputs
from trainer.published.run_facts import RunFacts
from trainer.published.source import (
    GENERATION_CONFIG,
    GGUF_VISION,
    TOKENIZER_CONFIG,
    TOKENIZER_FILES,
    VISION_CONFIG,
    tokenizer_files,
)
from trainer.run.arrays import ArrayReader
from trainer.run.checkpoint import open_run
from trainer.run.description import Description

Format = Literal["hf", "lwm", "gguf"]
ExportDtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Options of an export."""

    out: NewFolder
    """Output folder; must not exist, or be empty."""
    format: Format = "hf"
    """hf: safetensors for transformers and vLLM; gguf: a file for llama.cpp; lwm: the msgpack stream of LWM's JAX
    code."""
    dtype: ExportDtype = "float32"
    """Type of the values. float32 keeps every bit; bfloat16 and float16 take half the space (lwm: no float16)."""
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
            raise ConfigError(f"format must be one of {', '.join(get_args(Format))}, got {self.format!r}")
        if self.dtype not in DTYPES or (self.format == "lwm" and self.dtype == "float16"):
            raise ConfigError(f"dtype must be float32 or bfloat16, or float16 for hf and gguf; got {self.dtype!r}")
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
        raise _not_empty(config.out)
    facts = RunFacts.of(run)
    with locked_folder(config.out):
        if [path for path in config.out.iterdir() if path.name != LOCK]:  # another export was faster
            raise _not_empty(config.out)
        return _export(run, config, facts)


def _not_empty(out: Path) -> ConfigError:
    return ConfigError(f"{out} exists and is not an empty folder: choose another --out")


def _export(run: Path, config: ExportConfig, facts: RunFacts) -> ExportResult:
    with open_run(run) as checkpoints:
        step = checkpoints.newest()
        about = checkpoints.describe(step)
        tables = Tables(_llama(about), about.vocabulary)
        tokenizer = _tokenizer(config, facts, about.vocabulary)
        arrays = checkpoints.open_params(step, weights=config.weights)
        job = _Job(config=config, tables=tables, arrays=arrays, facts=facts, tokenizer=tokenizer)
        files = _WRITERS[config.format](job)
    for path in tokenizer:
        (config.out / path.name).write_bytes(path.read_bytes())
    write_card(config.out, about=about, step=step, facts=facts, files=files, parameters=tables.parameters)
    return ExportResult(out=config.out, step=step, parameters=tables.parameters, files=tuple(files))


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What a format is written from."""

    config: ExportConfig
    tables: Tables
    arrays: ArrayReader
    facts: RunFacts
    tokenizer: list[Path]

    @property
    def vision(self) -> dict[str, Any]:
        """Which ids of the joint vocabulary are vision; empty for a model of text."""
        vocabulary = self.tables.vocabulary
        if not vocabulary.vision_size:
            return {}
        return {
            "text_size": vocabulary.text_size,
            "vision_size": vocabulary.vision_size,
            "eof_id": vocabulary.eof,
            "eov_id": vocabulary.eov,
            "frame_grid": self.facts.frame_grid,
            "softmax": self.tables.model.softmax,
            "vocabulary": vocabulary.to_dict(),
        }


def _shown(outputs: Sequence[Output]) -> list[Output]:
    """Return the outputs, which show how many of their values are written."""
    total, done = sum(math.prod(output.shape) for output in outputs), 0
    progress = CountProgress("export-model", total, "parameters")

    def blocks(output: Output) -> Iterator[NDArray[Any]]:
        nonlocal done
        for block in output.blocks():
            yield block
            done += block.size
            progress.show(done)
        if done == total:
            progress.close(done)

    return [replace(output, blocks=partial(blocks, output)) for output in outputs]


def _write_lwm(job: _Job) -> list[Written]:
    outputs = _shown(lwm_outputs(job.arrays, job.tables, scan=job.config.scan))
    job.config.out.mkdir(parents=True, exist_ok=True)
    return [write_msgpack_stream(job.config.out / "params", outputs, dtype=job.config.dtype)]


def _write_hf(job: _Job) -> list[Written]:
    out, vocabulary, dtype = job.config.out, job.tables.vocabulary, job.config.dtype
    ends = {"bos_id": vocabulary.bos_id, "eos_id": vocabulary.eos_id}
    values = write_config(job.tables.model, vocab_size=vocabulary.size, dtype=dtype, **ends)
    outputs = _shown(joint_outputs(job.arrays, job.tables, names.HUGGING_FACE))
    out.mkdir(parents=True, exist_ok=True)
    files = write_safetensors(out, outputs, dtype=dtype, shard_bytes=int(job.config.shard_gb * 1e9))
    write_plain_json(out / "config.json", values)
    if not any(path.name == GENERATION_CONFIG for path in job.tokenizer):
        ids = {"bos_token_id": vocabulary.bos_id, "eos_token_id": vocabulary.eos_id}
        write_plain_json(out / GENERATION_CONFIG, ids)
    if job.vision:
        write_plain_json(out / VISION_CONFIG, job.vision)
    return files


def _write_gguf(job: _Job) -> list[Written]:
    out, model, vocabulary = job.config.out, job.tables.model, job.tables.vocabulary
    metadata = gguf_config.write_metadata(model, vocab_size=vocabulary.size) | _gguf_tokenizer(job)
    if job.vision:
        metadata[GGUF_VISION] = json.dumps(job.vision)
    outputs = joint_outputs(job.arrays, job.tables, names.gguf(str(metadata["general.architecture"])))
    if (divisors := gguf_config.frequency_divisors(model)) is not None:
        outputs.append(Output(name=gguf_config.FREQUENCIES, shape=divisors.shape, blocks=lambda: iter([divisors])))
    out.mkdir(parents=True, exist_ok=True)
    return [write_gguf(out / "model.gguf", _shown(outputs), metadata, dtype=job.config.dtype)]


def _gguf_tokenizer(job: _Job) -> dict[str, Value]:
    """Return the metadata of the text tokenizer; a file without one takes and returns ids only."""
    vocabulary, files = job.tables.vocabulary, {path.name: path for path in job.tokenizer}
    main = [files[name] for name in TOKENIZER_FILES if name in files]
    if not main:
        ids: dict[str, Value] = {"bos_token_id": vocabulary.bos_id, "eos_token_id": vocabulary.eos_id}
        return {f"tokenizer.ggml.{key}": value for key, value in ({"model": "no_vocab"} | ids).items()}
    known = next((path for path in main if sha256_file(path) == vocabulary.text_sha256), main[0])
    ends = {"bos_id": vocabulary.bos_id, "eos_id": vocabulary.eos_id}
    try:
        config = json_object(files[TOKENIZER_CONFIG].read_bytes()) if TOKENIZER_CONFIG in files else {}
        return vocabulary_metadata(known.read_bytes(), config, size=vocabulary.size, **ends)
    except ConfigError as e:
        raise ConfigError(f"{known}: {e}") from e


_WRITERS: dict[Format, Callable[[_Job], list[Written]]] = {"hf": _write_hf, "lwm": _write_lwm, "gguf": _write_gguf}


def _llama(about: Description) -> LlamaConfig:
    if not isinstance(about.model, LlamaConfig):
        raise ConfigError(f"models of {type(about.model).__name__} have no published format")
    return about.model


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
