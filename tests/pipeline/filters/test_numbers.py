"""The numbers of a surveyed row, and of a column of measures."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.filters.numbers import measured_entries, measured_names, numbers, shown
from schemas.records import SURVEY
from tests.support.survey_rows import book, typed, video

MEASURES = SURVEY.field("measures").type


def test_numbers_are_the_measures_and_those_derived_from_columns() -> None:
    row = video(duration_s=3, width=640, height=360, measures={"motion": 2.0, "absent": None})
    assert numbers(typed(row)) == {"motion": 2.0, "duration_s": 3.0, "short_side": 360.0}
    assert numbers(typed(video(duration_s=None, width=None, measures=None))) == {}


def test_only_videos_have_a_duration() -> None:
    assert "duration_s" not in numbers(typed(video(kind="image", duration_s=None)))
    assert "duration_s" not in numbers(typed(book()))


def test_measured_names_are_distinct_and_sorted_whatever_the_chunks() -> None:
    chunks = [pa.array([[("b", 1.0)], None, []], MEASURES), pa.array([], MEASURES)]
    chunks.append(pa.array([[("a", 1.0), ("b", 2.0)]], MEASURES))
    assert measured_names(pa.chunked_array(chunks)) == ["a", "b"]
    assert measured_names(pa.chunked_array([], MEASURES)) == []


def test_measured_entries_of_a_slice_are_those_of_its_rows() -> None:
    column = pa.chunked_array([pa.array([[("a", 1.0)], [("b", 2.0), ("c", 3.0)], None, [("d", 4.0)]], MEASURES)])
    names, values = measured_entries(column.slice(1, 2))
    assert (names.to_pylist(), values.to_pylist()) == (["b", "c"], [2.0, 3.0])


@pytest.mark.parametrize(
    ("number", "text"), [(0.123456, "0.1235"), (999.96, "1000"), (12345.6, "12,346"), (float("inf"), "inf")]
)
def test_large_numbers_are_shown_with_separators_and_small_ones_with_four_digits(number: float, text: str) -> None:
    assert shown(number) == text
