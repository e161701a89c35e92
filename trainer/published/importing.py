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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from schemas.dataset import read_card
from schemas.dataset_files import TEXT_TOKENIZER
from schemas.errors import ConfigError, storage_errors
from schemas.files import write_json
from schemas.fingerprint import sha256_file
from schemas.runs.checkpoint_files import CHECKPOINTS
from schemas.runs.checksums import write_checksums
from schemas.runs.folder_lock import locked_folder
from schemas.storage.location import located
from schemas.vocab import Vocabulary
from schemas.weight_files.chat_templates import LWM
from schemas.weight_files.tokenizer_files import CONFIG, TEMPLATE, parse_json_object
from trainer.model.llama.config import LlamaConfig
from trainer.published import names
from trainer.published.account import account_of
from trainer.published.checkpoint_arrays import write_arrays
from trainer.published.import_config import ImportConfig
from trainer.published.import_vocabulary import vocabulary_of_import
from trainer.published.plan import array_shapes, pieces
from trainer.published.source import Published, open_source
from trainer.published.source_tokenizer import SourceTokenizer, read_source_tokenizer
from trainer.run.description import Description

RECORD = "import.json"
_UNFINISHED = ".import-unfinished"


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
    vocabulary = vocabulary_of_import(published, tokenizer, config)
    sizes = {"text_size": vocabulary.text_size, "vision_size": vocabulary.vision_size}
    found = pieces(published, **sizes)
    model = _model(published, vocabulary)
    account = account_of(published, tokenizer, vocabulary)
    work = config.out / _UNFINISHED
    with storage_errors(config.out):
        shutil.rmtree(work, ignore_errors=True)
        step = work / "0"
        (step / "params").mkdir(parents=True)
        write_arrays(step / "params", model, found, vocabulary, mesh=config.mesh, seed=config.seed)
        _write_description(step, model, vocabulary, config.seed)
        _write_tokenizer(tokenizer, config, kind=published.kind)
        _write_record(config.out, source, published, account)
        work.rename(config.out / CHECKPOINTS)
    parameters = sum(math.prod(shape) for shape in array_shapes(model, **sizes).values())
    return ImportResult(checkpoint=config.out / CHECKPOINTS / "0", parameters=parameters, account=account)


def _model(published: Published, vocabulary: Vocabulary) -> LlamaConfig:
    """Return the model; with new vision ids the source's softmax over text becomes one over all ids."""
    has_vision = published.table_rows(names.VISION_EMBEDDING) > 0
    return published.config if has_vision and vocabulary.vision_size else replace(published.config, softmax="joint")


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


def _write_tokenizer(tokenizer: SourceTokenizer, config: ImportConfig, *, kind: str) -> None:
    files = tokenizer.files
    if config.dataset is not None:
        folder = read_card(config.dataset).text_tokenizer_folder(config.dataset)
        files = {file.name: file.read() for file in folder.list()} if folder else {}
    for name, data in (_with_lwm_template(files) if kind == "lwm" else files).items():
        located(config.out / TEXT_TOKENIZER / name).write(data)


def _with_lwm_template(files: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """Return the files of a text tokenizer with the prompt of LWM's training, unless they have a template."""
    names = parse_json_object(files.get(CONFIG, b"{}"), CONFIG)
    if not files or names.get("chat_template") is not None or TEMPLATE in files:
        return files
    return {**files, CONFIG: json.dumps({**names, "chat_template": LWM}, indent=2).encode()}


def _write_record(out: Path, source: str, published: Published, account: Sequence[str]) -> None:
    files = [{"name": x.name, "bytes": x.stat().st_size, "sha256": sha256_file(x)} for x in published.files]
    write_json(out / RECORD, {"source": source, "format": published.kind, "files": files, "account": list(account)})
