"""Measures of an item's history; `test_explain.py` covers whole histories through the command."""

from __future__ import annotations

from pipeline.filters.limit_table import DEFAULTS
from pipeline.reports.item_history import ItemHistory, SurveyHistory, measures_of


def test_nan_and_infinity_become_text_and_nan_violates_its_limit() -> None:
    measures = measures_of({"brightness": float("nan"), "mine": float("inf")}, DEFAULTS)
    assert [(m.name, m.value, m.violation) for m in measures] == [("brightness", "nan", "black"), ("mine", "inf", None)]


def test_measures_with_a_limit_come_first_in_the_order_of_the_limits() -> None:
    measures = measures_of({"zeta": 1.0, "words": 100.0, "alpha": 2.0, "duration_s": 5.0}, DEFAULTS)
    assert [m.name for m in measures] == ["duration_s", "words", "alpha", "zeta"]
    assert (measures[0].at_least, measures[0].at_most) == (1.0, 14400.0)
    assert (measures[2].at_least, measures[2].at_most) == (None, None)


def test_json_leaves_out_what_is_not_set() -> None:
    history = ItemHistory(item={"uri": "a"}, survey=SurveyHistory(state="pending")).to_json()
    assert history["survey"] == {"state": "pending", "facts": {}}
    assert history["select"] == {"state": "pending", "cluster_size": 1, "cluster_items": [], "text_from": []}
    assert history["measures"] == []
