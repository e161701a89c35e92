"""TODO."""

from __future__ import annotations

from typing import Any

from pipeline.runtime.workspace import Workspace, read_table_unit
from schemas.records import SURVEY


def read_survey_unit(workspace: Workspace, unit: int) -> list[dict[str, Any]]:
    """Return the rows of one survey unit; measures come as a dict."""
    return read_table_unit(workspace.survey, unit, SURVEY).to_pylist(maps_as_pydicts="strict")
