"""TODO."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.runtime.progress import console
from pipeline.runtime.workspace import Workspace, usable
from pipeline.select.selection import read_selection
from pipeline.sources.inputs import local_file
from pipeline.text.books import BookConfig, read_book
from pipeline.text.qa import QaConfig, plain_text, read_turns
from pipeline.tokenize.worker import TokenizeConfig
from schemas.errors import DatasetError, InputError
from schemas.files import atomic
from schemas.fingerprint import sha256_file
from tokenizer.text.sentencepiece import TextTokenizer, TextTrainConfig, train_text_tokenizer


def text_model_of(workspace: Workspace, given: Path | None, config: TokenizeConfig) -> Path:
    """Return the workspace's text model: a copy of the given one, or one trained on its texts the first time.

    It is never trained again, so that ids stay what they are when more books come.
    """
    path = workspace.text_model
    if given is not None:
        sha256 = TextTokenizer.load(given).sha256
        if not path.is_file() or sha256_file(path) != sha256:
            with atomic(path) as temporary:
                shutil.copyfile(given, temporary)
    elif not path.is_file():
        rows = usable(read_selection(workspace).rows).to_pylist()
        if not rows:
            raise DatasetError(f"nothing to tokenize: every item was set aside; why stands in {workspace.quarantine}")
        training = sorted((r for r in rows if r["split"] == "train"), key=lambda r: r["document_id"])
        captions = [caption for row in training for caption in row["captions"] or ()]
        texts = _texts(training, config.books, config.qa)
        train_text_tokenizer(itertools.chain(captions, texts), path, TextTrainConfig())
        console.print(f"text tokenizer: trained on {len(training)} items, {path}")
    return path


def _texts(items: Iterable[Mapping[str, Any]], books: BookConfig, qa: QaConfig) -> Iterator[str]:
    """Yield the text of the books and question-answer documents among the items."""
    for item in items:
        uri, kind = item["uri"], item["kind"]
        try:
            if kind == "book":
                with local_file(uri, max_bytes=books.max_bytes) as path:
                    cuts = [(cut["start"], cut["end"]) for cut in item.get("cuts") or ()]
                    yield from read_book(path, books, cuts=cuts, content_id=item.get("content_id"))
            elif kind == "qa":
                with local_file(uri, max_bytes=qa.max_bytes) as path:
                    yield plain_text(read_turns(path, qa))
        except InputError as e:
            console.print(f"text tokenizer: left out: {uri}: {e}")
