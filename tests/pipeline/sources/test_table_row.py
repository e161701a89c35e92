"""Rows of tables before they are checked."""

from __future__ import annotations

from pipeline.sources.table_row import TableRow


def test_a_row_has_no_error_unless_one_is_given() -> None:
    assert TableRow(0, 1, {"uri": "a.mp4"}).error is None
