"""Removes items from the tables of a workspace. Every function can be repeated, and records a file before it changes.

Manifest, survey and selection keep a row with the address and the reason `taken_down`, so that counts balance and the
next run finds nothing to do; signatures, pairs and tokens of the items are gone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.runtime.manifest_file import read_listed
from pipeline.runtime.token_store import (
    StoredDocument,
    TokenStore,
    items_of,
    orphans,
    remove_unit,
    shared_file,
    token_type,
    write_unit,
)
from pipeline.runtime.units import read_rows, unit_files, unit_number
from pipeline.runtime.workspace import Workspace, write_table_unit
from pipeline.survey.taken_down import clear_manifest_rows, taken_down_row
from pipeline.takedown.journal import Journal, Request
from schemas.errors import DatasetError, Reason
from schemas.records import PAIRS, QUARANTINE, SIGNATURES, SURVEY, TOKENS, item_of
from schemas.rows import DocumentRow, SurveyRow, document_rows, survey_rows, survey_table
from schemas.storage.location import Location
from schemas.tables import write_table


def clear_manifest(workspace: Workspace, request: Request, journal: Journal) -> None:
    """Keep only address and kind of the items."""
    if workspace.manifest.exists():
        uris = request.found.uris
        listed = read_listed(workspace, ["uri", "reason"])
        found = listed["reason"].filter(pc.is_in(listed["uri"], pa.array(sorted(uris), pa.string())))
        if set(found.to_pylist()) - {Reason.TAKEN_DOWN.value}:
            journal.before(workspace.manifest)
            clear_manifest_rows(workspace, dict.fromkeys(uris, request.id))


def clear_survey(workspace: Workspace, request: Request, journal: Journal) -> None:
    """Replace the rows of the items."""
    for path, table in _units_with(workspace.survey, SURVEY, "uri", request.found.uris, journal):
        rows = survey_rows(table)
        cleared = [_cleared(row, request) if row.uri in request.found.uris else row for row in rows]
        if cleared != rows:
            journal.before(path)
            write_table_unit(workspace.survey, unit_number(path), survey_table(cleared))


def _cleared(row: SurveyRow, request: Request) -> SurveyRow:
    return row if row.reason == Reason.TAKEN_DOWN else taken_down_row(row, request.id)


def clear_selection(workspace: Workspace, request: Request, journal: Journal) -> None:
    """Replace the rows of the items, and remove their text from the rows of items that had it from them.

    A row is in the unit of its document; the row that replaces it, in the unit of the address.
    """
    changed = {*request.found.uris, *(request.found.adopters or {}).values()}
    surveyed = _surveyed(workspace, changed)
    new = {uri: surveyed[uri] for uri in request.selected if uri in surveyed}
    found = _units_with(workspace.selection, SURVEY, "uri", changed, journal)
    for unit in sorted({unit_number(path) for path, _ in found} | {workspace.unit_of(uri) for uri in new}):
        rows = _selected(workspace, unit)
        kept = [_without_text(row, surveyed, request) for row in rows if row.uri not in request.found.uris]
        added = [_selected_row(row) for uri, row in new.items() if workspace.unit_of(uri) == unit]
        ordered = sorted([*kept, *added], key=lambda row: (row.document_id or "", row.uri))
        if ordered != rows:
            path = workspace.selection / f"unit-{unit:05d}.parquet"
            journal.before(path)
            write_table_unit(workspace.selection, unit, survey_table(ordered))


def _surveyed(workspace: Workspace, uris: Collection[str]) -> dict[str, SurveyRow]:
    wanted = pa.array(sorted(uris), pa.string())
    found: dict[str, SurveyRow] = {}
    for path in unit_files(workspace.survey):
        table = read_rows(path, SURVEY)
        found |= {row.uri: row for row in survey_rows(table.filter(pc.is_in(table["uri"], wanted)))}
    return found


def _selected(workspace: Workspace, unit: int) -> list[SurveyRow]:
    path = workspace.selection / f"unit-{unit:05d}.parquet"
    return survey_rows(read_rows(path, SURVEY)) if path.exists() else []


def _selected_row(row: SurveyRow) -> SurveyRow:
    """Return a row of a taken-down item as select writes it."""
    return replace(row, content_id=row.content_id or row.identity, cluster=row.content_id or row.identity)


def _without_text(row: SurveyRow, surveyed: Mapping[str, SurveyRow], request: Request) -> SurveyRow:
    if not set(row.text_from) & request.found.uris:
        return row
    own = surveyed.get(row.uri, SurveyRow(uri=row.uri, kind=row.kind))
    return replace(
        row,
        captions=own.captions,
        transcript=own.transcript,
        transcript_sha256=own.transcript_sha256,
        transcript_language=own.transcript_language,
        transcript_shift_s=None,
        text_from=(),
    )


def drop_signatures(workspace: Workspace, request: Request, journal: Journal) -> None:
    """Delete the samples and thumbnails of the items."""
    contents = request.found.contents
    for path, table in _units_with(workspace.signatures, SIGNATURES, "content_id", contents, journal):
        journal.before(path)
        write_table_unit(workspace.signatures, unit_number(path), _without(table, "content_id", contents))


def drop_pairs(workspace: Workspace, request: Request, journal: Journal) -> None:
    """Delete the pairs of the items."""
    if not workspace.pairs.exists():
        return
    table = read_rows(workspace.pairs, PAIRS)
    kept = _without(_without(table, "a", request.found.contents), "b", request.found.contents)
    if len(kept) < len(table):
        journal.before(workspace.pairs)
        write_table(workspace.pairs, kept)


def drop_tokens(workspace: Workspace, request: Request, journal: Journal) -> None:
    """Delete the tokens of the items and of those that have text from them.

    The file of a unit is written again without them and the old one is deleted, so that no byte of them remains in it.
    """
    items = {*request.found.documents, *(request.found.adopters or {})}
    found = list(_units_with(workspace.tokens, TOKENS, "document_id", items, journal))
    for path, table in [*found, *_sharing(workspace.tokens, [path for path, _ in found])]:
        unit = unit_number(path)
        for file in (path, *workspace.tokens.list(f"{path.stem}-*.arrow")):
            journal.before(file)
        rows = document_rows(table)
        kept = [row for row in rows if item_of(row.document_id) not in items]
        try:
            write_unit(workspace.tokens, unit, _with_tokens(workspace.tokens, kept), token_type(workspace.tokens, unit))
        except DatasetError:  # its tokens are damaged: tokenize computes the unit again
            remove_unit(workspace.tokens, unit)
    for path in orphans(workspace.tokens):
        journal.before(path)
        path.delete()


def _sharing(tokens: Location, changed: Collection[Location]) -> Iterator[tuple[Location, pa.Table]]:
    """Yield the other units whose tokens are in the files of those in `changed`, since units were divided."""
    shared = {shared_file(tokens, unit_number(path)) for path in changed} - {None}
    for path in unit_files(tokens) if shared else ():
        if path not in changed and shared_file(tokens, unit_number(path)) in shared:
            yield path, read_rows(path, TOKENS)


def _with_tokens(tokens: Location, rows: Iterable[DocumentRow]) -> Iterator[StoredDocument]:
    store = TokenStore(tokens)
    for row in rows:
        yield StoredDocument(row, np.zeros(0) if row.reason else store.read(row.unit, row.batch, row.row))


def clear_quarantine(workspace: Workspace, request: Request, journal: Journal) -> None:
    """Replace the rows of the items, or add them."""
    if not workspace.quarantine.exists():
        return
    table = read_rows(workspace.quarantine, QUARANTINE)
    surveyed = _surveyed(workspace, request.found.uris).values()
    new = [
        {"uri": row.uri, "kind": row.kind, "document_id": None, "job": "survey", "reason": row.reason}
        | {"detail": row.detail}
        for row in surveyed
    ]
    kept = pa.concat_tables([_without(table, "uri", request.found.uris), pa.Table.from_pylist(new, QUARANTINE)])
    kept = kept.sort_by([("uri", "ascending"), ("job", "ascending")])
    if not kept.equals(table):
        journal.before(workspace.quarantine)
        write_table(workspace.quarantine, kept)


def selected_uris(workspace: Workspace, uris: Collection[str]) -> tuple[str, ...]:
    """Return which of the addresses the selection has."""
    wanted = pa.array(sorted(uris), pa.string())
    tables = (read_rows(path, SURVEY, ["uri"])["uri"] for path in unit_files(workspace.selection))
    return tuple(sorted(uri for table in tables for uri in table.filter(pc.is_in(table, wanted)).to_pylist()))


def _units_with(
    folder: Location, schema: pa.Schema, column: str, values: Collection[str], journal: Journal
) -> Iterator[tuple[Location, pa.Table]]:
    """Yield the units of a folder of tables that have one of the values, read completely.

    A damaged unit may have them, too, and its job makes it again, so it is deleted.
    """
    wanted = pa.array(sorted(values), pa.string())
    for path in unit_files(folder):
        try:
            names = read_rows(path, schema, [column])[column]
            if column == "document_id":
                names = items_of(names)
            if pc.any(pc.is_in(names, wanted)).as_py():
                yield path, read_rows(path, schema)
        except DatasetError:
            journal.before(path)
            path.delete()


def _without(table: pa.Table, column: str, values: Collection[str]) -> pa.Table:
    return table.filter(pc.invert(pc.is_in(table[column], pa.array(sorted(values), pa.string()))))
