"""The histograms of the report."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.filters.limit import Limit
from pipeline.filters.limit_table import DEFAULTS
from pipeline.filters.numbers import numbers
from pipeline.reports.histograms import HEIGHT, WIDTH, histogram, measured_columns
from schemas.errors import Reason
from schemas.records import SURVEY
from schemas.rows import SurveyRow
from tests.support.survey_rows import Row, video

measure = st.dictionaries(
    st.sampled_from(["brightness", "motion", "words", "x"]),
    st.one_of(st.none(), st.floats(allow_nan=False, width=32)),
    max_size=4,
)


surveyed = st.builds(
    lambda measures, kind, seconds, size: {
        "measures": measures,
        "kind": kind,
        "duration_s": seconds,
        "width": size,
        "height": size and size + 1,
    },
    st.one_of(st.none(), measure),
    st.sampled_from(["video", "image", "book"]),
    st.one_of(st.none(), st.floats(0, 1e6)),
    st.one_of(st.none(), st.integers(0, 4000)),
)


@given(st.lists(surveyed, max_size=12), st.integers(0, 3), st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_measures_by_column_equal_measures_by_row(rows: list[dict[str, Any]], skip: int, chunk: int) -> None:
    full: list[Row] = [video() | row for row in rows]
    whole = pa.Table.from_pylist(full, SURVEY)
    table = pa.concat_tables([whole.slice(skip, chunk), whole.slice(min(skip + chunk, len(whole)))])
    expected: dict[str, list[float]] = {}
    for row in full[skip:]:
        for name, number in numbers(SurveyRow.from_row(row)).items():
            expected.setdefault(name, []).append(number)
    found = {name: list(values) for name, values in measured_columns(table).items()}
    assert found == expected


@pytest.mark.slow
@given(
    st.lists(st.one_of(st.floats(), st.floats(0, 1), st.floats(0.1, 1e5)), min_size=1, max_size=60),
    st.one_of(st.just(-np.inf), st.floats(-100, 100)),
    st.one_of(st.just(np.inf), st.floats(100, 1e6)),
    st.sampled_from(["x", "x_share"]),
)
@settings(deadline=None, max_examples=150)
def test_a_histogram_counts_every_value_once_and_stays_within_the_plot(
    values: list[float], low: float, high: float, name: str
) -> None:
    limit = Limit(name, low, high, Reason.TOO_SHORT, Reason.TOO_LONG)
    data = np.array(values)
    found = histogram(data, limit)
    counted: Counter[str] = Counter()
    for bar in found.bars:
        for part in bar.label.rsplit(": ", 1)[1].split(", "):
            number, word = part.split()
            counted[word] += int(number)
        assert 0 <= bar.x <= bar.x + bar.width <= WIDTH
        assert 0 <= bar.outside_y <= bar.within_y <= HEIGHT
    finite = data[np.abs(data) < 1e300]
    inside = int(((finite >= low) & (finite <= high)).sum())
    assert (counted["within"], counted["outside"]) == (inside, len(finite) - inside)
    by_reason = {words.split()[0]: n for n, words, _ in found.outside}
    assert by_reason.get("below", 0) == (int((data < low).sum()) if np.isfinite(low) else 0)
    assert by_reason.get("above", 0) == (int((data > high).sum()) if np.isfinite(high) else 0)
    assert by_reason.get("not", 0) == int(np.isnan(data).sum())
    assert all(0 <= x <= WIDTH for x, _ in (*found.ticks, *found.bounds))


def test_a_wide_range_is_drawn_on_a_logarithmic_axis_with_its_limits() -> None:
    found = histogram(np.array([2.0, 30.0, 4000.0]), DEFAULTS["duration_s"])
    assert found.is_log
    assert [text for _, text in found.bounds] == ["min 1", "max 14,400"]
    assert [text for _, text in found.ticks] == ["1", "10", "100", "1,000", "10,000"]
    narrow = histogram(np.array([1.5, 90.0]), Limit("x"))
    assert [text for _, text in narrow.ticks] == ["2", "5", "10", "20", "50"]
    linear = histogram(np.array([10.0, 20.0, 30.0]), DEFAULTS["duration_s"])
    assert not linear.is_log
    assert linear.bounds[0][1] == "min 1"  # the other is far beyond
    assert len(linear.bounds) == 1
