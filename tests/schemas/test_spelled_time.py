"""Durations have a unit that fits."""

from __future__ import annotations

from schemas.spelled_time import spelled_time


def test_times_have_a_fitting_unit() -> None:
    assert [spelled_time(s) for s in (12.34, 600, 7200, 864000)] == ["12.3 s", "10 min", "2 h", "10 days"]
