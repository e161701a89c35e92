"""Removes items from what a workspace has besides its tables: journals, logs, the report, intermediate files.

Journals and the log lose the lines that name an item; error logs, which may quote it, and files that any command can
make again are deleted.
"""

from __future__ import annotations

import glob
import json
import re
import tempfile
from collections.abc import Collection, Iterator

from pipeline.runtime.workspace import REPORT, Workspace
from pipeline.takedown.journal import Journal, Request
from schemas.dataset_files import CARD
from schemas.runs.messages import EARLIER_LOG, LOG
from schemas.storage.location import Location, located

_KNOWN = {
    *("workspace.json", "config.toml", "manifest.parquet", "pairs.parquet", "pairs.json", "quarantine.parquet"),
    *("survey", "signatures", "selection", "tokens", "tokenizers", "packed", "logs", "takedown"),
}


def clear_files(workspace: Workspace, request: Request, journal: Journal) -> None:
    """Remove the items from all files that are not tables. Can be repeated."""
    root = located(workspace.root)
    logs = root / "logs"
    runs = [run for job in logs.list() for run in job.list()]
    for place in (
        *_temporary(root),
        *(root / name for name in ("dedup", "histograms", REPORT)),
        *(*logs.list("*-error.txt"), *logs.list("*-defects.txt")),
        *(run / "errors" for run in runs),  # of workers that failed
    ):
        _delete(place, journal)
    names = _spellings({*request.found.uris, *request.found.documents, *request.found.contents})
    for place in (place for run in runs for place in run.list("*.jsonl")):
        _drop_lines(place, names, journal)
    files = _spellings({uri.rstrip("/").rpartition("/")[2] for uri in request.found.uris})  # as progress names them
    for place in (*logs.list(LOG), *logs.list(EARLIER_LOG)):
        _drop_lines(place, [*names, *files], journal)


def is_unfinished(directory: Location) -> bool:
    """Return whether a dataset has no card."""
    return (directory / CARD).stat() is None


def unknown_files(workspace: Workspace) -> list[str]:
    """Return what is in the workspace and not Longreel's, by name: it is not examined."""
    return [place.name for place in located(workspace.root).list() if place.name not in _KNOWN]


def temporary_copies() -> list[str]:
    """Return the temporary copies of inputs (`pipeline.sources.inputs`), of running commands or left by killed ones."""
    folder = tempfile.gettempdir()
    found = glob.glob("longreel-*/[ir][no][pw]*", root_dir=folder)  # noqa: PTH207 - Path.glob fails if one vanishes
    return sorted(f"{folder}/{name}" for name in found)


def _temporary(root: Location) -> Iterator[Location]:
    """Yield the files that killed processes left in the folders of the workspace."""
    if not root.is_local:
        return
    below = [folder for name in sorted(_KNOWN) for folder in (root / name).list()]
    for folder in (root, *(root / name for name in sorted(_KNOWN)), *below):
        yield from folder.temporary()


def _spellings(names: Collection[str]) -> list[bytes]:
    """Return names as journals spell them."""
    return [spelling for name in sorted(names) for spelling in {_json(name), name.encode()} if spelling]


def _json(name: str) -> bytes:
    return json.dumps(name)[1:-1].encode()


def _drop_lines(place: Location, names: Collection[bytes], journal: Journal) -> None:
    pattern = re.compile(b"|".join(re.escape(name) for name in names))
    with place.open() as file:
        if not any(pattern.search(line) for line in file):
            return
    journal.before(place)
    with place.writing() as temporary, place.open() as file, temporary.open("wb") as out:
        out.writelines(line for line in file if not pattern.search(line))


def _delete(place: Location, journal: Journal) -> None:
    """Delete a file or folder, if there is one."""
    journal.before(place)
    place.delete_folder() if place.is_folder() else place.delete()
