"""Replaces the files of a dataset by the new ones in `.forget/`, and completes a replacement that was interrupted.

The card is removed first and moved into place last, so an interrupted replacement leaves a directory without a card,
which no reader accepts. If the card is present, the replacement has not begun, or is complete except for the removal of
`.forget/`; `.forget/` is then deleted.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from pipeline.dataset.forget.documents import DocumentRef
from pipeline.runtime.progress import console
from schemas.dataset import CARD, CROISSANT, FORGETTING, INDEX, LEDGER, read_card, read_index
from schemas.errors import storage_errors
from schemas.files import inside, write_text
from schemas.printable import printable

_DOCUMENTS = "documents.json"  # in `.forget/`: the documents that are removed


def write_documents(folder: Path, documents: Sequence[DocumentRef]) -> None:
    """Record in `.forget/` which documents are removed, for the command that completes an interrupted replacement."""
    write_text(folder / _DOCUMENTS, json.dumps([document._asdict() for document in documents]))


def switch(directory: Path) -> None:
    """Move the new files into place and delete shards without sequences; can be repeated after an interruption."""
    folder = directory / FORGETTING
    with storage_errors(directory):
        (directory / CARD).unlink(missing_ok=True)
        if (folder / INDEX).exists():  # the old index lists the shards to delete, so it is replaced after that
            kept = {entry.url for entry in read_index(folder)}
            for entry in read_index(directory):
                if entry.url not in kept:
                    inside(directory, entry.url).unlink(missing_ok=True)
        shards = sorted(path.name for path in folder.glob("*.tar"))
        for name in (*shards, LEDGER, CROISSANT, INDEX, CARD):
            if (folder / name).exists():
                (folder / name).replace(directory / name)
        shutil.rmtree(folder)


def finish(directory: Path) -> list[DocumentRef]:
    """Complete an interrupted replacement and return its documents; delete a `.forget/` that is not needed."""
    folder = directory / FORGETTING
    if not folder.is_dir():
        return []
    documents = _recorded_documents(folder)
    if not (directory / CARD).exists():
        if not (folder / CARD).exists():
            return []  # another command removed the card
        switch(directory)
    else:
        with storage_errors(folder):
            shutil.rmtree(folder)
        if not {document.document_id for document in documents} <= set(read_card(directory).forgotten):
            return []  # the replacement had not begun
    for document in documents:
        console.print(printable(f"forget: completed the interrupted removal of {document.document_id}, {document.uri}"))
    return documents


def _recorded_documents(folder: Path) -> list[DocumentRef]:
    try:
        rows = json.loads((folder / _DOCUMENTS).read_text(encoding="utf-8"))
        return [DocumentRef(str(row["document_id"]), str(row["uri"]), row["title"]) for row in rows]
    except (OSError, ValueError, TypeError, KeyError):
        return []  # used only for messages and to recognize the user's names
