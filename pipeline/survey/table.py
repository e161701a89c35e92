"""The table that the survey writes, one Parquet file per unit."""

from __future__ import annotations

from pipeline.kinds.registry import kind_of
from pipeline.runtime.units import read_rows, unit_name
from pipeline.runtime.workspace import Workspace, read_table_unit
from schemas.errors import DatasetError
from schemas.records import SIGNATURES, SURVEY
from schemas.rows import SurveyRow, survey_rows


def read_survey_unit(workspace: Workspace, unit: int) -> list[SurveyRow]:
    """Return the rows of a unit; none if its file is absent, damaged or of another version."""
    return survey_rows(read_table_unit(workspace.survey, unit, SURVEY))


def read_reusable(workspace: Workspace, unit: int) -> dict[str, SurveyRow]:
    """Return the rows of an earlier run by address, without those whose signature is missing."""
    try:
        path = workspace.signatures / f"{unit_name(unit)}.parquet"
        signed = set(read_rows(path, SIGNATURES, ["content_id"])["content_id"].to_pylist())
    except DatasetError:
        signed = set()
    rows = read_survey_unit(workspace, unit)
    return {row.uri: row for row in rows if row.reason or row.content_id in signed or not _has_signature(row)}


def _has_signature(row: SurveyRow) -> bool:
    return kind_of(row.kind).similarity() is not None
