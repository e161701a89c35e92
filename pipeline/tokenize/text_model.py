"""The text tokenizer of a workspace: given by the user, or trained on the workspace's texts the first time."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.kinds.registry import kind_of
from pipeline.runtime.interrupt import item_limit
from pipeline.runtime.progress import console
from pipeline.runtime.workspace import Workspace, usable
from pipeline.select.selection import read_selection
from pipeline.sources.access import STRICT, AccessConfig
from pipeline.sources.inputs import MAX_BYTES, local_file
from pipeline.text.options import TextOptions
from pipeline.tokenize.config import TokenizeConfig
from schemas.errors import DatasetError, InputError
from schemas.files import atomic, read_json, write_json
from schemas.fingerprint import sha256_file
from schemas.record_errors import record_errors
from schemas.rows import SurveyRow, survey_rows
from tokenizer.text.tokenizer import TextTokenizer
from tokenizer.text.training import TextTrainConfig, train_text_tokenizer


def text_model_of(
    workspace: Workspace, given: Path | None, config: TokenizeConfig, access: AccessConfig = STRICT
) -> Path:
    """Return the workspace's text model: a copy of the given one, or one trained on its texts the first time.

    It is not trained again when more books are added, so that ids stay the same.
    """
    path = workspace.text_model
    if given is not None:
        sha256 = TextTokenizer.load(given).sha256
        if not path.is_file() or sha256_file(path) != sha256:
            path.with_suffix(".json").unlink(missing_ok=True)  # of the old model
            with atomic(path) as temporary:
                shutil.copyfile(given, temporary)
        record_model(path)
    elif path.is_file():
        _check(path)
    else:
        path.with_suffix(".json").unlink(missing_ok=True)
        rows = survey_rows(usable(read_selection(workspace).rows))
        if not rows:
            raise DatasetError(f"nothing to tokenize: every item was rejected; see {workspace.quarantine} for reasons")
        training = sorted((row for row in rows if row.split == "train"), key=lambda row: row.identity)
        captions = [caption for row in training for caption in row.captions]
        texts = read_texts(training, TextOptions(books=config.books, qa=config.qa), access)
        train_text_tokenizer(itertools.chain(captions, texts), path, TextTrainConfig())
        record_model(path)
        console.print(f"text tokenizer: trained on {len(training)} items: {path}")
    return path


def record_model(path: Path) -> None:
    """Write the SHA-256 of the model next to it."""
    write_json(path.with_suffix(".json"), {"sha256": sha256_file(path)})


def _check(path: Path) -> None:
    """Raise DatasetError if the model is damaged, which would tokenize every item again, with other ids."""
    record = path.with_suffix(".json")
    if not record.exists():  # the command that wrote the model was killed before it wrote the record
        record_model(path)
    try:
        recorded = read_json(record).get("sha256")
    except DatasetError as e:
        raise DatasetError(f"{e}; delete it to accept {path} as it is") from e
    if recorded != sha256_file(path):
        raise DatasetError(
            f"{path} is damaged: its SHA-256 is not the one in {record}. Restore it, or give a model with "
            f"--text-model; or delete {path}, to train a new one and to tokenize everything again"
        )


def read_texts(rows: Iterable[SurveyRow], options: TextOptions, access: AccessConfig = STRICT) -> Iterator[str]:
    """Yield the texts of items, those of kinds that have any; an item that cannot be read is skipped with a message."""
    for row in rows:
        kind = kind_of(row.kind)
        if not kind.is_text:
            continue
        try:
            with (
                item_limit(kind.time_limit_s(options)),
                record_errors(row.uri),
                local_file(row.uri, max_bytes=kind.max_bytes(options) or MAX_BYTES, access=access) as path,
            ):
                texts = list(kind.texts(path, row, options))
        except InputError as e:
            console.print(f"text tokenizer: skipped {row.uri}: {e}")
            continue
        yield from texts
