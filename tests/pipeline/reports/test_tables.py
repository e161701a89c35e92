"""The tables of the report."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.reports import tables
from pipeline.reports.dry_run import verdicts
from pipeline.reports.funnel import Items
from pipeline.reports.page import render
from pipeline.reports.tables import cut_characters, duration, with_durations_and_words
from pipeline.runtime.workspace import Workspace
from schemas.records import SURVEY, TOKENS
from schemas.rows import SurveyRow
from tests.support.survey_rows import Row, book

cuts = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=5)


@given(st.lists(st.one_of(st.none(), cuts), max_size=6))
@settings(deadline=None, max_examples=60)
def test_overlapping_cuts_are_counted_once_and_as_in_a_dry_run(rows: list[list[tuple[int, int]] | None]) -> None:
    def spans(row: list[tuple[int, int]]) -> list[Row]:
        return [{"start": s, "end": s + n, "reason": "quality", "detail": None} for s, n in sorted(row)]

    books = [book(f"/b/{n}", cuts=None if row is None else spans(row)) for n, row in enumerate(rows)]
    expected = [len({at for s, n in row or () for at in range(s, s + n)}) for row in rows]
    table = pa.Table.from_pylist(books, SURVEY)
    assert list(cut_characters(table["cuts"])) == expected
    assert with_durations_and_words(table)["words"].to_pylist() == pytest.approx(
        verdicts(map(SurveyRow.from_row, books))["words"].to_pylist()
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.6, "1 min 0 s"), (3725, "1 h 2 min"), (4e6, "1,111 h 6 min")]
)
def test_a_duration_is_formatted_in_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_cues_are_counted_by_split_if_there_are_any() -> None:
    rows = [
        {"split": "train", "cues": 1200, "cues_outside": 898, "reason": None},
        {"split": "train", "cues": 3, "cues_outside": 0, "reason": None},
        {"split": "val", "cues": 0, "cues_outside": 2, "reason": None},
        {"split": "val", "cues": 0, "cues_outside": 0, "reason": "bad_transcript"},
    ]
    schema = pa.schema([TOKENS.field(name) for name in rows[0]])

    def of(some: list[dict[str, object]]) -> list[tables.ReportTable]:
        items = Items(
            listed=pa.table({}),
            surveyed=pa.table({}),
            tokenized=pa.Table.from_pylist(some, schema),
            datasets={},
            unfinished=(),
            selection=None,
        )
        return list(tables.transcripts_table(items))

    (table,) = of(rows)
    assert table.rows == (("train", "1,203", "898"), ("val", "0", "2"))
    assert of(rows[3:]) == of([]) == []


def test_a_registered_table_appears_in_its_section_of_the_page(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_TABLES", {section: [*made] for section, made in tables._TABLES.items()})

    @tables.table("licenses")
    def containers(items: Items) -> Iterator[tables.ReportTable]:
        yield tables.ReportTable(title="Mine", columns=("kind", "n"), rows=(("all", str(len(items.listed))),))

    page = render(workspace)
    assert "<caption>Mine</caption>" in page
    assert page.index("<caption>Splits</caption>") < page.index("<caption>Mine</caption>")
