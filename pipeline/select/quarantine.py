"""The quarantine table: every rejected item, with the job and the reason."""

from __future__ import annotations

from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.runtime.units import read_rows, unit_files
from pipeline.runtime.workspace import Workspace, read_units, usable
from pipeline.select.selection import read_selection
from schemas.errors import DatasetError
from schemas.records import QUARANTINE, SURVEY, TOKENS
from schemas.tables import write_table


def write_quarantine(workspace: Workspace) -> int:
    """Write every item that survey, select or tokenize rejected, and return how many there are."""
    columns = [name for name in QUARANTINE.names if name != "job"]
    judged = read_selection(workspace, columns).rows
    surveyed = read_units(workspace.survey, SURVEY, ["uri", "reason"])
    by_survey = pc.is_in(judged["uri"], _rejected(surveyed)["uri"].combine_chunks())
    parts = [_rejected(judged.append_column("job", pc.if_else(by_survey, "survey", "select")))]
    selected = usable(judged)["document_id"].combine_chunks()
    for path in unit_files(workspace.tokens):
        with suppress(DatasetError):  # a damaged unit, which tokenize writes again
            tokenized = _rejected(read_rows(path, TOKENS, columns))
            tokenized = tokenized.filter(pc.is_in(tokenized["document_id"], selected))
            job = pa.array(["tokenize"] * len(tokenized), pa.string())
            parts.append(tokenized.append_column("job", job))
    rejected = pa.concat_tables([part.select(QUARANTINE.names).cast(QUARANTINE) for part in parts])
    write_table(workspace.quarantine, rejected.sort_by([("uri", "ascending"), ("job", "ascending")]))
    return len(rejected)


def _rejected(rows: pa.Table) -> pa.Table:
    return rows.filter(pc.is_valid(rows["reason"]))
