"""The numbers of a surveyed item, by name: what limits apply to and what the report shows."""

from __future__ import annotations

import math

import pyarrow as pa
import pyarrow.compute as pc

from schemas.rows import SurveyRow


def numbers(row: SurveyRow) -> dict[str, float]:
    """Return every number of a surveyed row: its measures, and those derived from other columns.

    Derived are `duration_s` of videos, and `short_side`, the smaller of width and height in pixels.
    """
    found = {name: float(value) for name, value in row.measures.items() if value is not None}
    if row.visual is not None and row.visual.duration_s is not None:
        found["duration_s"] = float(row.visual.duration_s)
    if row.visual is not None and row.visual.width and row.visual.height:
        found["short_side"] = float(min(row.visual.width, row.visual.height))
    return found


def measured_names(measures: pa.ChunkedArray) -> list[str]:
    """Return the distinct names in a column of measures (schemas.records.SURVEY), sorted."""
    return sorted(pc.unique(measured_entries(measures)[0]).to_pylist())


def measured_entries(measures: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Return the names and the values of all entries of a column of measures, in order."""
    kind = measures.type
    names, values = [], []
    for chunk in (chunk.drop_null() for chunk in measures.chunks):
        if len(chunk):
            first, end = chunk.offsets[0].as_py(), chunk.offsets[-1].as_py()  # a slice refers to the whole array
            names.append(chunk.keys.slice(first, end - first))
            values.append(chunk.items.slice(first, end - first))
    return pa.chunked_array(names, kind.key_type), pa.chunked_array(values, kind.item_type)


def shown(number: float) -> str:
    """Return a number for display: four significant digits, or all digits before the point with separators."""
    if not math.isfinite(number) or abs(number) < 1000:
        return f"{number:.4g}"
    return f"{number:,.0f}"
