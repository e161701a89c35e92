"""Rows of the tables in `schemas.records` as frozen dataclasses; Parquet rows are converted at the border."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A range of a book's clean text that is removed."""

    start: int  # in characters
    end: int
    reason: str  # a schemas.errors.Reason, or "boilerplate"
    detail: str | None = None


@dataclass(frozen=True, kw_only=True)
class SurveyRow:
    """One item of the survey, or of the selection (schemas.records.SURVEY).

    Columns that do not apply to the kind of the item, or that could not be measured, are None.
    """

    uri: str
    kind: str
    captions: tuple[str, ...] | None = None
    transcript: str | None = None
    title: str | None = None
    source: str | None = None
    license: str | None = None
    split: str | None = None
    metadata: str | None = None
    fingerprint: str | None = None
    document_id: str | None = None
    content_id: str | None = None
    size_bytes: int | None = None
    container: str | None = None
    codec: str | None = None
    width: int | None = None  # pixels as displayed
    height: int | None = None
    duration_s: float | None = None
    frame_rate: float | None = None
    bit_depth: int | None = None
    interlaced: bool | None = None
    crop: tuple[int, ...] | None = None
    encoding: str | None = None
    language: str | None = None
    transcript_sha256: str | None = None
    measures: Mapping[str, float | None] | None = None
    cuts: tuple[Cut, ...] = ()
    cluster: str | None = None
    kept_content_id: str | None = None
    reason: str | None = None  # a schemas.errors.Reason; None: the item is kept
    detail: str | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> SurveyRow:
        """Return a row that `pyarrow.Table.to_pylist` gives. Columns that it does not have are None."""
        values = {f.name: row[f.name] for f in fields(cls) if row.get(f.name) is not None}
        values |= {name: tuple(values[name]) for name in ("captions", "crop") if name in values}
        values |= {"measures": dict(values["measures"])} if "measures" in values else {}
        return cls(**values | {"cuts": tuple(Cut(**cut) for cut in values.get("cuts", ()))})

    def to_row(self) -> dict[str, Any]:
        """Return the row as `pyarrow.Table.from_pylist` takes it."""
        row = {f.name: getattr(self, f.name) for f in fields(self)}
        lists = {name: list(row[name]) for name in ("captions", "crop") if row[name] is not None}
        return row | lists | {"cuts": [asdict(cut) for cut in self.cuts] or None}
