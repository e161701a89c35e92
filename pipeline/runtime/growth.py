"""The number of units: chosen from the number of items, and increased when a corpus grows.

A unit is a range of the hash of an identity. The number is multiplied, so each unit is divided into ranges of its own,
and nothing is computed again: the rows of its tables are distributed by their hash, and the index of its tokens names
the old file until tokenize writes the unit again. New tables are in folders of the new number. `workspace.json` is
replaced when they are complete; a command that is killed before that leaves folders that nothing reads.

Cost: one pass over survey, signatures, selection and token index, about 20 KB per item. As the number at least doubles,
an item is moved about once per doubling of the corpus.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.runtime.token_store import FACTS, StoreFacts, share_tokens, shared_file
from pipeline.runtime.units import read_rows, unit_files, unit_name, unit_number
from pipeline.runtime.workspace import MAX_UNITS, Workspace, read_table_unit, write_table_unit
from schemas.counted import counted
from schemas.errors import ConfigError, DatasetError
from schemas.files import write_text
from schemas.fingerprint import bucket
from schemas.records import SIGNATURES, SURVEY, TOKENS, item_of
from schemas.storage.location import Location
from schemas.tables import open_table, write_table

ITEMS_PER_UNIT = 128  # a few minutes of work: the survey of a video takes about a second, its tokens take ten
_FEWEST = 64  # units of a corpus that has as many items

_Identities = Callable[[pa.Table], list[str]]


def units_for(items: int) -> int:
    """Return the number of units for a number of items, a power of two: one per item at first, then 128 items each."""
    few = 1 << min(max(items, 1), _FEWEST).bit_length() - 1
    many = 1 << (-(-items // ITEMS_PER_UNIT) - 1).bit_length() if items > ITEMS_PER_UNIT else 1
    return min(max(few, many), MAX_UNITS)


def divide(workspace: Workspace, items: int, given: int | None = None) -> None:
    """Increase the number of units to `given`, or to what `items` need if the workspace chooses the number.

    Raises ConfigError if `given` is no multiple of the number of units.
    """
    current = workspace.units
    if given is not None:
        units, grows = given, False
        if given % current or not 1 <= given <= MAX_UNITS:
            raise ConfigError(
                f"{workspace.root} has {counted(current, 'unit')}, and units can only be divided: --units takes a "
                f"multiple of {current} up to {MAX_UNITS:,}, got {given}"
            )
    else:
        units, grows = current, workspace.grows
        while grows and units < units_for(items) and units * 2 <= MAX_UNITS:
            units *= 2
    if units != current:
        _divide(workspace, units)
    if (units, grows) != (workspace.units, workspace.grows):
        workspace.units, workspace.grows = units, grows
        workspace.save()
    drop_other_divisions(workspace)


def drop_other_divisions(workspace: Workspace) -> None:
    """Delete the tables of other numbers of units, which a division leaves, and the tokens that no index names."""
    for folder in _folders(workspace):
        for other in _others(folder):
            if folder == workspace.tokens:
                for place in (*unit_files(other), other / FACTS):
                    place.delete()
            else:
                other.delete_folder()
    if others := _others(workspace.tokens):
        named = {shared_file(workspace.tokens, unit_number(path)) for path in unit_files(workspace.tokens)}
        for other in others:
            left = other.list("unit-*.arrow")
            for place in set(left) - named:
                place.delete()
            if not named.intersection(left):
                other.delete_folder()


def _folders(workspace: Workspace) -> tuple[Location, ...]:
    return workspace.survey, workspace.signatures, workspace.selection, workspace.tokens


def _others(folder: Location) -> list[Location]:
    """Return the folders next to `folder` with another number of units."""
    return [place for place in folder.parent.list() if place.name.isdigit() and place != folder]


def _divide(old: Workspace, units: int) -> None:
    """Write the tables of all units, distributed over `units`."""
    new = Workspace(old.root, units)
    for folder in _folders(new):
        folder.delete_folder()  # of a division that was killed
    for unit in map(unit_number, unit_files(old.survey)):
        _divide_survey(old, new, unit)
    with contextlib.suppress(DatasetError, FileNotFoundError):  # without a marker select writes it again
        _divide_selection(old, new)
    _divide_tokens(old, new)


def _divide_survey(old: Workspace, new: Workspace, unit: int) -> None:
    """Distribute the rows of a unit of the survey, and their signatures."""
    rows = read_table_unit(old.survey, unit, SURVEY)  # a damaged unit is empty: it is computed again
    signatures = read_table_unit(old.signatures, unit, SIGNATURES)
    for part, some in _parts(rows, lambda table: table["uri"].to_pylist(), new.units):
        own = signatures.filter(pc.is_in(signatures["content_id"], some["content_id"].combine_chunks()))
        write_table_unit(new.signatures, part, own)
        write_table_unit(new.survey, part, some)


def _divide_selection(old: Workspace, new: Workspace) -> None:
    marker = old.selection_marker.read()
    for path in unit_files(old.selection):
        for unit, rows in _parts(read_rows(path, SURVEY), _judged, new.units):
            write_table_unit(new.selection, unit, rows)
    new.selection_marker.write(marker)


def _divide_tokens(old: Workspace, new: Workspace) -> None:
    for path in unit_files(old.tokens):
        try:
            with open_table(path) as file:
                index = share_tokens(file.read(), old.tokens)
        except (DatasetError, KeyError):  # tokenize computes it again
            continue
        for unit, rows in _parts(index, _tokenized, new.units):
            at = rows.schema.get_field_index("unit")
            unit_column = pa.array(np.full(len(rows), unit, np.int32))
            table = rows.set_column(at, TOKENS.field("unit"), unit_column)
            write_table(new.tokens / f"{unit_name(unit)}.parquet", table.replace_schema_metadata(index.schema.metadata))
    _divide_facts(old, new)


def _divide_facts(old: Workspace, new: Workspace) -> None:
    """Keep a complete token store complete."""
    try:
        facts = StoreFacts.read(old.tokens)
    except DatasetError:
        return
    if set(facts.units) == {unit_number(path) for path in unit_files(old.tokens)}:
        units = tuple(unit_number(path) for path in unit_files(new.tokens))
        write_text(new.tokens / FACTS, facts.with_units(units).to_json())


def _judged(table: pa.Table) -> list[str]:
    return pc.coalesce(table["document_id"], table["uri"]).to_pylist()


def _tokenized(table: pa.Table) -> list[str]:
    return [item_of(name) for name in table["document_id"].to_pylist()]


def _parts(table: pa.Table, identities: _Identities, units: int) -> Iterator[tuple[int, pa.Table]]:
    """Yield each of the units that has rows of a table, with its rows in their order."""
    unit_of = np.array([bucket(identity, units) for identity in identities(table)], np.int64)
    for unit in np.unique(unit_of).tolist():
        yield unit, table.filter(pa.array(unit_of == unit))
