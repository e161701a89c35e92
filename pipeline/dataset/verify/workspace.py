"""Checks the files of a workspace against their checksums: tables, token store, text model and settings.

`verify` checks the datasets in it. Logs are not checked, as no command reads them back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pipeline.dataset.verify.strays import strays
from pipeline.runtime.kept_tokenizer import kept_hashes, record_of
from pipeline.runtime.settings import NAME as SETTINGS
from pipeline.runtime.settings import Settings
from pipeline.runtime.token_store import FACTS, StoreFacts, TokenStore, shared_file
from pipeline.runtime.units import unit_files, unit_name, unit_number
from pipeline.runtime.workspace import REPORT, Workspace
from schemas.errors import DatasetError, LongreelError
from schemas.files import read_json
from schemas.storage.location import Location
from schemas.tables import check_table
from schemas.text_tokenizer import file_problems

_FOLDERS = ("survey", "signatures", "selection", "tokens", "tokenizers", "packed", "logs", "takedown")
_FILES = ("workspace.json", SETTINGS, "manifest.parquet", "pairs.parquet", "pairs.json", "quarantine.parquet", REPORT)
_UNFINISHED = {"dedup": "an interrupted `longreel dedup`", "histograms": "an interrupted `longreel pack`"}

_CHECKS: dict[str, Callable[[Location], object]] = {".parquet": check_table, ".json": read_json}

Found = tuple[str, str]  # file, relative to the workspace or store, and problem


def workspace_problems(workspace: Workspace) -> Iterator[Found]:
    """Yield the problems of the files of a workspace, except for its datasets."""
    root = workspace.root
    yield from strays(root, _FILES, _FOLDERS, unfinished=_UNFINISHED)
    yield from _below(root, workspace.packed_folder, _other_than_datasets(workspace))
    yield from _problem(SETTINGS, Settings.read, root)
    for path in (workspace.manifest, workspace.pairs, workspace.quarantine):
        if path.exists():
            yield from _problem(path.name, check_table, path)
    if (root / "pairs.json").exists():
        yield from _problem("pairs.json", read_json, root / "pairs.json")
    for folder in (workspace.survey, workspace.signatures, workspace.selection):
        yield from _below(root, folder.parent, _other_divisions(folder))
        if folder.is_folder():
            yield from _below(root, folder, _table_problems(folder, workspace.selection_marker))
    yield from _text_tokenizer_problems(workspace)
    for path in (root / "takedown").walk():  # block lists, and receipts and progress of takedowns
        if path.suffix in _CHECKS:
            yield from _problem(path.relative_to(root), _CHECKS[path.suffix], path)
    yield from _below(root, workspace.tokens.parent, _other_divisions(workspace.tokens))
    if workspace.tokens.is_folder():
        yield from _below(root, workspace.tokens, store_problems(workspace.tokens))


def store_problems(directory: Location) -> Iterator[Found]:
    """Yield the problems of the files of a token store; every byte is read."""
    store, expected = TokenStore(directory), {FACTS}
    try:
        units = StoreFacts.read(directory).units
    except DatasetError as e:
        yield FACTS, str(e)
        units = tuple(unit_number(path) for path in unit_files(directory))
    for unit in units:
        index = f"{unit_name(unit)}.parquet"
        expected.add(index)
        try:
            path = store.check(unit)
            expected |= {path.name} if path.parent == directory else set()
        except DatasetError as e:
            yield index, str(e)
            expected |= {path.name for path in directory.list(f"{unit_name(unit)}-*.arrow")}
    yield from strays(directory, expected)


def _other_divisions(folder: Location) -> Iterator[Found]:
    """Yield what is next to the folder of the units, except for tokens that their index still names."""
    named = {path.parent.name for unit in unit_files(folder) if (path := shared_file(folder, unit_number(unit)))}
    digits = [path.name for path in folder.parent.list() if path.name.isdigit() and path != folder]
    unfinished = {name: "an interrupted `longreel survey`" for name in digits if name not in named}
    yield from strays(folder.parent, (), {folder.name, *named}, unfinished=unfinished)


def _other_than_datasets(workspace: Workspace) -> Iterator[Found]:
    """Yield what is next to the datasets and no folder."""
    return strays(workspace.packed_folder, (), [folder.name for folder in workspace.packed_folder.list()])


def _below(root: Location, folder: Location, found: Iterator[Found]) -> Iterator[Found]:
    return ((f"{folder.relative_to(root)}/{name}", problem) for name, problem in found)


def _table_problems(folder: Location, marker: Location) -> Iterator[Found]:
    paths = unit_files(folder)
    also = {marker.name} if marker.parent == folder and marker.exists() else set()
    yield from strays(folder, also | {path.name for path in paths})
    for path in paths:
        yield from _problem(path.name, check_table, path)
    if also:
        yield from _problem(marker.name, read_json, marker)


def _text_tokenizer_problems(workspace: Workspace) -> Iterator[Found]:
    folder, record = workspace.text_tokenizer, record_of(workspace)
    if not folder.parent.is_folder():
        return
    yield from _below(workspace.root, folder.parent, strays(folder.parent, (record.name,), (folder.name,)))
    try:
        hashes = kept_hashes(workspace)
    except DatasetError as e:
        yield f"{folder.parent.name}/{record.name}", str(e)
        return
    for name, problem in (*strays(folder, hashes), *file_problems(folder, hashes)):
        yield f"{folder.parent.name}/{folder.name}/{name}", problem


def _problem(name: str, check: Callable[[Location], object], path: Location) -> Iterator[Found]:
    try:
        check(path)
    except (OSError, LongreelError) as e:
        yield name, str(e)
