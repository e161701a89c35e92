"""TODO."""

from __future__ import annotations

from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.runtime.units import read_rows, unit_files
from pipeline.runtime.workspace import Workspace, read_units, usable
from pipeline.select.selection import read_selection
from schemas.errors import DatasetError
from schemas.files import atomic
from schemas.records import QUARANTINE, SURVEY, TOKENS


def write_quarantine(workspace: Workspace) -> int:
    """Write every item that did not go on, with job and reason, and return how many there are."""
    columns = [name for name in QUARANTINE.names if name != "job"]
    judged = read_selection(workspace, columns).rows
    surveyed = read_units(workspace.survey, SURVEY, ["uri", "reason"])
    unusable = pc.is_in(judged["uri"], _aside(surveyed)["uri"].combine_chunks())
    parts = [_aside(judged.append_column("job", pc.if_else(unusable, "survey", "select")))]
    selected = usable(judged)["document_id"].combine_chunks()
    for path in unit_files(workspace.tokens):
        with suppress(DatasetError):  # a damaged unit: tokenize makes it again
            made = _aside(read_rows(path, TOKENS, columns))
            made = made.filter(pc.is_in(made["document_id"], selected))
            parts.append(made.append_column("job", pa.array(["tokenize"] * len(made), pa.string())))
    aside = pa.concat_tables([part.select(QUARANTINE.names).cast(QUARANTINE) for part in parts])
    with atomic(workspace.quarantine) as temporary:
        pq.write_table(aside.sort_by([("uri", "ascending"), ("job", "ascending")]), temporary)
    return len(aside)


def _aside(rows: pa.Table) -> pa.Table:
    return rows.filter(pc.is_valid(rows["reason"]))
