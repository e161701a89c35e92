"""The manifest of a workspace, `manifest.parquet`: its items sorted by unit and address, with the cause of absences.

It is replaced as a whole. The driver divides it into units once; a worker reads the row groups of its unit, and
compares the checksum of the file once per process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.runtime.workspace import Workspace
from schemas.errors import DatasetError
from schemas.large_tables import as_large, taken, values_of
from schemas.records import MANIFEST
from schemas.rows import ManifestItem, manifest_items
from schemas.tables import read_part, read_table, table_writer

UNIT, ABSENT = "unit", "absent"
_GROUP_ROWS = 10_000
_FILE = MANIFEST.append(pa.field(UNIT, pa.int32())).append(pa.field(ABSENT, pa.string()))


class ListedUnit(NamedTuple):
    """The items of a unit, and the causes of absences by address."""

    items: list[ManifestItem]
    absent: Mapping[str, str]


def write_manifest(workspace: Workspace, items: pa.Table) -> dict[int, pa.Table]:
    """Write the manifest, and return the rows of each unit that has any, in order.

    `items` has the columns of MANIFEST and may have `absent`, the cause of an absence (pipeline.survey.absence); other
    columns are not written, and returned.
    """
    table = as_large(items)
    if ABSENT not in table.column_names:
        table = table.append_column(ABSENT, pa.nulls(len(table), pa.large_string()))
    table = table.append_column(UNIT, pa.array(_units(workspace, table["uri"])))
    table = taken(table, pc.sort_indices(table, sort_keys=[(UNIT, "ascending"), ("uri", "ascending")]))
    with table_writer(workspace.manifest, _FILE) as writer:
        for start in range(0, len(table), _GROUP_ROWS):
            writer.write_table(table.slice(start, _GROUP_ROWS).select(_FILE.names).cast(_FILE))
    units, starts = np.unique(table[UNIT].to_numpy(), return_index=True)
    ends = [*starts[1:].tolist(), len(table)]
    return {
        unit: table.slice(start, end - start)
        for unit, start, end in zip(units.tolist(), starts.tolist(), ends, strict=True)
    }


def _units(workspace: Workspace, uris: pa.ChunkedArray) -> NDArray[Any]:
    """Return the unit of each address."""
    return np.fromiter(map(workspace.unit_of, values_of(uris)), np.int32, len(uris))


def read_manifest_unit(workspace: Workspace, unit: int) -> ListedUnit:
    """Return the items of one unit; row groups of other units are skipped. Raises DatasetError if it is damaged."""
    try:
        rows = read_part(workspace.manifest, filters=[(UNIT, "=", unit)])
    except DatasetError as e:
        raise DatasetError(f"{e}; run `longreel survey` again") from e
    return ListedUnit(manifest_items(rows.select(MANIFEST.names)), _causes(rows))


def read_absent(workspace: Workspace) -> dict[str, str]:
    """Return the causes of absent items by address; none if there is no readable manifest."""
    return _causes(absent_items(workspace))


def absent_items(workspace: Workspace) -> pa.Table:
    """Return `uri` and `absent` of the absent items; none if there is no readable manifest."""
    try:
        rows = read_table(workspace.manifest, ["uri", ABSENT])
    except DatasetError:  # the next survey writes it again
        return pa.table({"uri": pa.array([], pa.string()), ABSENT: pa.array([], pa.string())})
    return rows.filter(pc.is_valid(rows[ABSENT]))


def read_listed(workspace: Workspace, columns: Sequence[str]) -> pa.Table:
    """Return columns of the manifest; raises DatasetError if it is damaged."""
    try:
        return read_table(workspace.manifest, columns)
    except DatasetError as e:
        raise DatasetError(f"{e}; run `longreel survey` again") from e


def _causes(rows: pa.Table) -> dict[str, str]:
    absent = rows.filter(pc.is_valid(rows[ABSENT]))
    return dict(zip(absent["uri"].to_pylist(), absent[ABSENT].to_pylist(), strict=True))
