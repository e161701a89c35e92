"""The text tokenizer of a workspace: given by the user, or trained on the workspace's texts the first time."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.kinds.registry import kind_of
from pipeline.runtime.interrupt import item_limit, stop_on_signals
from pipeline.runtime.kept_tokenizer import check_kept, keep_tokenizer, kept_hashes
from pipeline.runtime.workspace import Workspace, usable
from pipeline.select.selection import read_selection
from pipeline.sources.access import STRICT, AccessConfig
from pipeline.sources.inputs import MAX_BYTES, local_file
from pipeline.text.options import TextOptions
from pipeline.tokenize.config import TokenizeConfig
from schemas.counted import counted
from schemas.errors import DatasetError, InputError
from schemas.record_errors import record_errors
from schemas.rows import SurveyRow, survey_rows
from schemas.runs.messages import messages
from schemas.storage.location import Location
from schemas.weight_files.tokenizer_files import MODEL
from tokenizer.text.tokenizer import TextTokenizer
from tokenizer.text.training import TextTrainConfig, train_text_tokenizer


def text_tokenizer_of(
    workspace: Workspace, given: Location | Path | None, config: TokenizeConfig, access: AccessConfig = STRICT
) -> Location:
    """Return the folder of the workspace's text tokenizer: a copy of the given one, or one trained on its texts.

    It is not trained again when more books are added, so that ids stay the same.
    """
    if given is not None:
        keep_tokenizer(workspace, TextTokenizer.load(given).files)
    elif kept_hashes(workspace):
        check_kept(workspace)
    else:
        _train(workspace, config, access)
    return workspace.text_tokenizer


def _train(workspace: Workspace, config: TokenizeConfig, access: AccessConfig) -> None:
    rows = survey_rows(usable(read_selection(workspace).rows))
    if not rows:
        raise DatasetError(f"nothing to tokenize: every item was rejected; see {workspace.quarantine} for reasons")
    training = sorted((row for row in rows if row.split == "train"), key=lambda row: row.identity)
    captions = [caption for row in training for caption in row.captions]
    texts = read_texts(training, TextOptions(books=config.books, qa=config.qa), access)
    with tempfile.TemporaryDirectory() as folder, stop_on_signals(), item_limit(None):
        path = train_text_tokenizer(itertools.chain(captions, texts), Path(folder) / MODEL, TextTrainConfig())
        keep_tokenizer(workspace, TextTokenizer.load(path).files)
    messages.info(f"text tokenizer: trained on {counted(len(training), 'item')}: {workspace.text_tokenizer}")


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
            messages.warning(f"text tokenizer: skipped {row.uri}: {e}")
            continue
        yield from texts
