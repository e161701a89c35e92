"""Rows as dataclasses agree with the schemas, and convert without loss."""

from __future__ import annotations

from dataclasses import fields

import pyarrow as pa
import pytest

from schemas.records import CUT, MANIFEST, SIGNATURES, SURVEY, TOKENS
from schemas.rows import Crop, Cut, DocumentRow, ManifestItem, SignatureRow, SurveyRow, TextFacts, VisualFacts

VIDEO = SurveyRow(
    uri="/v/a.mp4",
    kind="video",
    captions=("a film",),
    document_id="d",
    visual=VisualFacts(width=640, height=360, duration_s=1.5, interlaced=False, crop=Crop(0, 10, 640, 340)),
    measures={"brightness": 9.0},
)
BOOK = SurveyRow(
    uri="/b/a.txt",
    kind="book",
    text=TextFacts(encoding="utf-8", language="en"),
    cuts=(Cut(start=3, end=9, reason="quality", detail="short"), Cut(start=20, end=30, reason="boilerplate")),
)
MISSING = SurveyRow(uri="/gone", kind="qa", reason="missing", detail="no file")


def test_dataclasses_have_the_columns_of_the_schemas() -> None:
    own = {f.name for f in fields(SurveyRow)} - {"visual", "text"}
    assert own | {f.name for part in (VisualFacts, TextFacts) for f in fields(part)} == set(SURVEY.names)
    assert [f.name for f in fields(ManifestItem)] == MANIFEST.names
    assert list(Cut._fields) == [field.name for field in CUT]
    assert {f.name for f in fields(DocumentRow)} == set(TOKENS.names)
    assert {f.name for f in fields(SignatureRow)} == set(SIGNATURES.names)


@pytest.mark.parametrize("row", [VIDEO, BOOK, MISSING], ids=lambda row: row.kind)
def test_rows_are_restored_from_a_table(row: SurveyRow) -> None:
    table = pa.Table.from_pylist([row.to_row()], SURVEY)
    (read,) = table.to_pylist(maps_as_pydicts="strict")
    assert SurveyRow.from_row(read) == row
    assert pa.Table.from_pylist([SurveyRow.from_row(read).to_row()], SURVEY).equals(table)


def test_a_row_without_cuts_stores_null() -> None:
    assert VIDEO.to_row()["cuts"] is None
