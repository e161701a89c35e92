from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.filters.limits import DEFAULTS, Limit, judge_numbers, measured_names, numbers, require_known, with_limits
from schemas.errors import ConfigError, Reason
from schemas.records import SURVEY

finite = st.floats(allow_nan=False, allow_infinity=False)


def broken(limit: Limit, number: float) -> str | None:
    verdict = limit.broken_by(number)
    return verdict and verdict[1]


def row(**changes: Any) -> dict[str, Any]:
    return dict.fromkeys(SURVEY.names) | {"uri": "a", "kind": "video"} | changes


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("sharpness=1.5:20", 1.5, 20),
        ("sharpness=:20", -math.inf, 20),
        ("sharpness=1e-3:", 0.001, math.inf),
        ("sharpness=:", -math.inf, math.inf),
        ("sharpness=2:2", 2, 2),
        (" sharpness = -1 : 2 ", -1, 2),
    ],
)
def test_a_limit_is_read_with_either_side_open(text: str, low: float, high: float) -> None:
    limits = with_limits([text])
    assert (limits["sharpness"].low, limits["sharpness"].high) == (low, high)
    assert {name: limit for name, limit in limits.items() if name != "sharpness"} == {
        name: limit for name, limit in DEFAULTS.items() if name != "sharpness"
    }


@pytest.mark.parametrize(
    "text", ["", "sharpness", "sharpness=5", "sharpness=5:1", "=1:2", " =1:2", "a=x:", "a=nan:", "a:1=2"]
)
def test_what_is_no_limit_is_refused_with_what_was_given(text: str) -> None:
    with pytest.raises(ConfigError, match=r"NAME=MIN:MAX.*got " + repr(text)):
        with_limits([text])


def test_the_last_of_several_limits_on_one_number_holds_and_keeps_its_reason() -> None:
    limit = with_limits(["duration_s=5:", "duration_s=2:9"])["duration_s"]
    assert (limit.low, limit.high, limit.too_low, limit.too_high) == (2, 9, Reason.TOO_SHORT, Reason.TOO_LONG)


@given(st.one_of(st.none(), finite), st.one_of(st.none(), finite), finite)
def test_a_limit_as_it_is_shown_reads_back_and_judges_the_same(
    low: float | None, high: float | None, number: float
) -> None:
    bounds = sorted((-math.inf if low is None else low, math.inf if high is None else high))
    limit = Limit("n", *bounds)
    read = with_limits([str(limit)])["n"]
    assert (read.low, read.high) == (limit.low, limit.high)
    verdict = limit.broken_by(number)
    assert (verdict is None) == (limit.low <= number <= limit.high)
    if verdict:
        assert str(limit) in verdict[1]


def test_each_side_has_its_reason_and_a_side_without_a_meaning_is_a_scores() -> None:
    limits = with_limits(["motion=1:5", "black_share=0.1:0.9", "mine=1:2"])
    reasons = {
        name: [broken[0] for number in (-1, 99) if (broken := limits[name].broken_by(number))]
        for name in ("duration_s", "motion", "black_share", "mine")
    }
    assert reasons == {
        "duration_s": [Reason.TOO_SHORT],
        "motion": [Reason.STILL, Reason.SCORE],
        "black_share": [Reason.SCORE, Reason.BLACK],
        "mine": [Reason.SCORE, Reason.SCORE],
    }


def test_nan_breaks_a_bound_but_no_open_limit() -> None:
    assert Limit("n").broken_by(math.nan) is None
    assert broken(Limit("n", high=0.5, too_high=Reason.BLACK), math.nan) == "n is nan; at most 0.5 (--set n=:0.5)"
    assert broken(Limit("n", low=0.5), math.nan) == "n is nan; at least 0.5 (--set n=0.5:)"


def test_a_number_just_outside_is_not_shown_as_if_it_were_within() -> None:
    assert broken(Limit("n", low=1), 0.999999) == "n is 0.999999; at least 1 (--set n=1:)"
    assert broken(Limit("n", high=14400), 15000.25) == "n is 1.5e+04; at most 14400 (--set n=:14400)"


def test_numbers_are_the_measures_and_what_follows_from_columns() -> None:
    video = row(duration_s=3, width=640, height=360, measures={"motion": 2.0, "absent": None})
    assert numbers(video) == {"motion": 2.0, "duration_s": 3.0, "short_side": 360.0}
    assert numbers(row(kind="image", duration_s=0.0, width=9, height=12)) == {"short_side": 9.0}
    assert numbers(row(kind="book", measures=[("words", 7.0)])) == {"words": 7.0}  # as Arrow gives maps
    assert numbers(row(kind="qa")) == {}


def test_the_first_broken_limit_is_the_reason() -> None:
    found = {"brightness": 1.0, "duration_s": 0.1, "unheard": 3.0}
    verdict = judge_numbers(found, DEFAULTS)
    assert verdict is not None
    assert verdict[0] == Reason.TOO_SHORT
    assert judge_numbers({"unheard": 3.0}, DEFAULTS) is None


def test_a_misspelt_name_is_told_with_the_nearest_and_a_score_that_items_have_is_known() -> None:
    require_known(with_limits(["nsfw=:0.5"]), ["nsfw"])
    with pytest.raises(ConfigError, match="--set sharpnes: no item has .* did you mean 'sharpness'"):
        require_known(with_limits(["sharpnes=1:"]), [])
    with pytest.raises(ConfigError, match="there are .*brightness.*nsfw"):
        require_known(with_limits(["qqqq=1:"]), ["nsfw"])


def test_the_names_of_all_numbers_are_found_whatever_the_chunks() -> None:
    kind = SURVEY.field("measures").type
    chunks = [pa.array([[("b", 1.0)], None, []], kind), pa.array([], kind), pa.array([[("a", 1.0), ("b", 2.0)]], kind)]
    assert measured_names(pa.chunked_array(chunks)) == ["a", "b"]
    assert measured_names(pa.chunked_array([], kind)) == []
