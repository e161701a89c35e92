"""Limits from options: parsing, unknown names, and the filter that applies them."""

from __future__ import annotations

import math

import pytest

from pipeline.filters.limit_filter import LimitFilter, parse_limits, reject_numbers, require_known
from pipeline.filters.limit_table import DEFAULTS
from schemas.errors import ConfigError, Reason
from tests.support.survey_rows import typed, video


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
def test_either_bound_may_be_empty(text: str, low: float, high: float) -> None:
    limits = parse_limits([text])
    assert (limits["sharpness"].low, limits["sharpness"].high) == (low, high)
    assert {name: limit for name, limit in limits.items() if name != "sharpness"} == {
        name: limit for name, limit in DEFAULTS.items() if name != "sharpness"
    }


@pytest.mark.parametrize(
    "text", ["", "sharpness", "sharpness=5", "sharpness=5:1", "=1:2", " =1:2", "a=x:", "a=nan:", "a:1=2"]
)
def test_a_malformed_limit_raises_with_the_value_received(text: str) -> None:
    with pytest.raises(ConfigError, match=r"NAME=MIN:MAX.*got " + repr(text)):
        LimitFilter(limit=(text,))


def test_the_last_limit_on_a_number_wins_and_keeps_the_default_reasons() -> None:
    limit = parse_limits(["duration_s=5:", "duration_s=2:9"])["duration_s"]
    assert (limit.low, limit.high, limit.too_low, limit.too_high) == (2, 9, Reason.TOO_SHORT, Reason.TOO_LONG)


def test_a_bound_without_a_default_reason_rejects_as_score() -> None:
    limits = parse_limits(["motion=1:5", "black_share=0.1:0.9", "mine=1:2"])
    reasons = {
        name: [rejection.reason for number in (-1, 99) if (rejection := limits[name].reject(number))]
        for name in ("duration_s", "motion", "black_share", "mine")
    }
    assert reasons == {
        "duration_s": [Reason.TOO_SHORT],
        "motion": [Reason.STILL, Reason.SCORE],
        "black_share": [Reason.SCORE, Reason.BLACK],
        "mine": [Reason.SCORE, Reason.SCORE],
    }


def test_the_first_broken_limit_gives_the_reason() -> None:
    found = {"brightness": 1.0, "duration_s": 0.1, "unlimited": 3.0}
    rejection = reject_numbers(found, DEFAULTS)
    assert rejection is not None
    assert rejection.reason == Reason.TOO_SHORT
    assert reject_numbers({"unlimited": 3.0}, DEFAULTS) is None


def test_limits_apply_to_every_number_of_an_item() -> None:
    limits = LimitFilter(limit=("mine=:0.5", "brightness=100:"))
    assert limits.reject(typed(video(measures={"brightness": 120.0, "mine": 0.5}))) is None
    assert limits.reject(typed(video(measures={"brightness": 120.0}))) is None
    scored = limits.reject(typed(video(measures={"brightness": 120.0, "mine": 0.6})))
    assert scored == (Reason.SCORE, "mine is 0.6, above the maximum 0.5 (--limit mine=:0.5)")
    dark = limits.reject(typed(video()))
    assert dark is not None
    assert dark.reason == Reason.BLACK


def test_an_unknown_name_raises_with_the_nearest_name() -> None:
    require_known(parse_limits(["redness=:0.5"]), ["redness"])
    with pytest.raises(ConfigError, match="--limit sharpnes: no item has .* did you mean 'sharpness'"):
        require_known(parse_limits(["sharpnes=1:"]), [])
    with pytest.raises(ConfigError, match="the numbers are .*brightness.*redness"):
        require_known(parse_limits(["qqqq=1:"]), ["redness"])
