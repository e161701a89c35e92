"""A limit on one number of an item: a minimum, a maximum, and the reasons for which each rejects."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.filters.filter import Rejection
from schemas.errors import Reason


@dataclass(frozen=True)
class Limit:
    """`low` <= number <= `high`; an item with a number outside is rejected for `too_low` or `too_high`."""

    name: str
    low: float = -math.inf
    high: float = math.inf
    too_low: Reason = Reason.SCORE
    too_high: Reason = Reason.SCORE
    what: str = ""  # description of the number, with its unit

    def __str__(self) -> str:
        return f"{self.name}={_digits(self.low)}:{_digits(self.high)}"

    @property
    def is_open(self) -> bool:
        """Whether the limit has neither a minimum nor a maximum."""
        return math.isinf(self.low) and math.isinf(self.high)

    def reject(self, number: float) -> Rejection | None:
        """Return the rejection of a number outside the limit, or None. NaN is outside every limit that is not open."""
        if self.is_open or self.low <= number <= self.high:
            return None
        if number < self.low or (math.isnan(number) and not math.isinf(self.low)):
            return Rejection(self.too_low, self._detail(number, f"below the minimum {_digits(self.low)}"))
        return Rejection(self.too_high, self._detail(number, f"above the maximum {_digits(self.high)}"))

    def _detail(self, number: float, bound: str) -> str:
        value = f"{number:.4g}"
        if self.low <= float(value) <= self.high:  # rounding must not print 0.99999 as 1 next to "minimum 1"
            value = _digits(number)
        what = f" ({self.what})" if self.what else ""
        return f"{self.name} is {value}{what}, {bound} (--limit {self})"


def _digits(bound: float) -> str:
    """Return a number with all its digits, so that parsing it gives the same number; "" for an infinite bound."""
    return "" if math.isinf(bound) else repr(float(bound)).removesuffix(".0")
