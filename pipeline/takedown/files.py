"""Removes items from what a workspace has besides its tables: journals, error logs, the report, intermediate files.

Journals lose the lines that name an item; error logs, which may quote it, and files that any command can make again are
deleted.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from pipeline.runtime.workspace import Workspace
from pipeline.takedown.journal import Journal, Request
from schemas.dataset_files import CARD
from schemas.errors import storage_errors
from schemas.files import atomic
from schemas.storage.store import is_hidden

_KNOWN = {
    *("workspace.json", "config.toml", "manifest.parquet", "pairs.parquet", "pairs.json", "quarantine.parquet"),
    *("survey", "signatures", "selection", "tokens", "tokenizers", "packed", "logs", "takedown"),
}
REPORT = "report.html"


def clear_files(workspace: Workspace, request: Request, journal: Journal) -> None:
    """Remove the items from all files that are not tables. Can be repeated."""
    for path in _temporary(workspace.root):
        _delete(path, journal)
    for name in ("dedup", "histograms"):
        _delete(workspace.root / name, journal)
    _delete(workspace.root / REPORT, journal)
    logs = workspace.root / "logs"
    for path in sorted([*logs.glob("*-error.txt"), *logs.glob("*-defects.txt")]):
        _delete(path, journal)
    for folder in sorted(logs.glob("*/*/errors")):  # of workers that failed
        _delete(folder, journal)
    names = _spellings({*request.found.uris, *request.found.documents, *request.found.contents})
    for path in sorted(logs.glob("*/*/*.jsonl")):
        _drop_lines(path, names, journal)


def is_unfinished(directory: Path) -> bool:
    """Return whether a dataset has no card."""
    return not (directory / CARD).is_file()


def unknown_files(workspace: Workspace) -> list[str]:
    """Return what is in the workspace and not Longreel's, by name: it is not examined."""
    return sorted(path.name for path in workspace.root.iterdir() if path.name not in _KNOWN)


def temporary_copies() -> list[str]:
    """Return the temporary copies of inputs (`pipeline.sources.inputs`), of running commands or left by killed ones."""
    return sorted(map(str, Path(tempfile.gettempdir()).glob("longreel-*/[ir][no][pw]*")))


def _temporary(root: Path) -> Iterator[Path]:
    """Yield the files that killed processes left in the folders of the workspace."""
    below = (path for name in ("packed", "takedown") for path in sorted((root / name).glob("*")))
    units = (
        path for name in ("survey", "signatures", "selection", "tokens") for path in sorted((root / name).glob("*"))
    )
    for folder in (root, *(root / name for name in sorted(_KNOWN)), *units, *below):
        if folder.is_dir():
            yield from sorted(path for path in folder.iterdir() if is_hidden(path.name))


def _spellings(names: Collection[str]) -> list[bytes]:
    """Return names as journals spell them."""
    return [spelling for name in sorted(names) for spelling in {_json(name), name.encode()} if spelling]


def _json(name: str) -> bytes:
    return json.dumps(name)[1:-1].encode()


def _drop_lines(path: Path, names: Collection[bytes], journal: Journal) -> None:
    pattern = re.compile(b"|".join(re.escape(name) for name in names))
    with path.open("rb") as file:
        if not any(pattern.search(line) for line in file):
            return
    journal.before(path)
    with atomic(path) as temporary, path.open("rb") as file, temporary.open("wb") as out:
        out.writelines(line for line in file if not pattern.search(line))


def _delete(path: Path, journal: Journal) -> None:
    """Delete a file or folder, if there is one."""
    if not path.exists():
        return
    journal.before(path)
    with storage_errors(path):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
