"""One limit: which numbers it rejects, for which reason, and how the message describes it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.filters.limit import Limit
from pipeline.filters.limit_filter import parse_limits
from schemas.errors import Reason

finite = st.floats(allow_nan=False, allow_infinity=False)


def detail(limit: Limit, number: float) -> str | None:
    rejection = limit.reject(number)
    return rejection and rejection.detail


@given(st.one_of(st.none(), finite), st.one_of(st.none(), finite), finite)
def test_a_printed_limit_parses_to_the_same_limit(low: float | None, high: float | None, number: float) -> None:
    least, most = sorted((-math.inf if low is None else low, math.inf if high is None else high))
    limit = Limit("n", least, most)
    parsed = parse_limits([str(limit)])["n"]
    assert (parsed.low, parsed.high) == (limit.low, limit.high)
    rejection = limit.reject(number)
    assert (rejection is None) == (limit.low <= number <= limit.high)
    if rejection:
        assert str(limit) in rejection.detail


def test_each_bound_has_its_own_reason() -> None:
    limit = Limit("n", 1, 2, Reason.TOO_SHORT, Reason.TOO_LONG, "seconds")
    assert limit.reject(0) == (Reason.TOO_SHORT, "n is 0 (seconds), below the minimum 1 (--limit n=1:2)")
    assert limit.reject(3) == (Reason.TOO_LONG, "n is 3 (seconds), above the maximum 2 (--limit n=1:2)")
    assert limit.reject(1) is limit.reject(2) is None


@pytest.mark.parametrize(
    ("limit", "is_open"), [(Limit("n"), True), (Limit("n", low=0), False), (Limit("n", high=0), False)]
)
def test_a_limit_without_bounds_is_open(limit: Limit, is_open: bool) -> None:
    assert limit.is_open == is_open


def test_nan_is_outside_every_limit_with_a_bound() -> None:
    assert Limit("n").reject(math.nan) is None
    high = Limit("n", high=0.5, too_high=Reason.BLACK)
    assert high.reject(math.nan) == (Reason.BLACK, "n is nan, above the maximum 0.5 (--limit n=:0.5)")
    assert detail(Limit("n", low=0.5), math.nan) == "n is nan, below the minimum 0.5 (--limit n=0.5:)"


def test_a_number_just_outside_is_not_rounded_into_the_limit() -> None:
    assert detail(Limit("n", low=1), 0.999999) == "n is 0.999999, below the minimum 1 (--limit n=1:)"
    assert detail(Limit("n", high=14400), 15000.25) == "n is 1.5e+04, above the maximum 14400 (--limit n=:14400)"
