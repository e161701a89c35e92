"""Histograms of the report: one per measure, with its limits, as the geometry of a small SVG plot.

The horizontal axis is logarithmic where the values span more than a factor of 50, and 0 to 1 for shares. Values within
and outside the limits are counted separately, so that a limit inside a bar is still exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.filters.limit import Limit
from pipeline.filters.numbers import measured_entries, shown
from schemas.counted import counted

BARS = 40
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 400.0, 150.0, 40.0, 4.0, 16.0, 18.0  # of the plot and its margins, in pixels
_LOG_RATIO = 50.0  # largest over smallest value from which the axis is logarithmic
_LIMIT_MARGIN = 0.5  # a limit this far outside the range of the values, as a share of the range, is still drawn
_TICKS = 4
_HUGE, _TINY = 1e300, 1e-300  # magnitudes beyond these overflow or underflow in the axis arithmetic


def measured_columns(items: pa.Table) -> dict[str, NDArray[np.float64]]:
    """Return the values of every measure; equal to `pipeline.filters.numbers.numbers` applied to each row."""
    found: dict[str, NDArray[np.float64]] = {}
    names, values = (column.combine_chunks() for column in measured_entries(items["measures"]))
    if len(names):
        coded = names.dictionary_encode()
        of = coded.indices.to_numpy()
        numbers = values.to_numpy(zero_copy_only=False)
        present = values.is_valid().to_numpy(zero_copy_only=False)
        order = np.argsort(of, kind="stable")
        starts = np.searchsorted(of[order], np.arange(len(coded.dictionary) + 1))
        for name, first, end in zip(coded.dictionary.to_pylist(), starts[:-1], starts[1:], strict=True):
            rows = order[first:end]
            found[name] = numbers[rows][present[rows]]
    durations = items["duration_s"].drop_null()
    sides = pc.min_element_wise(items["width"], items["height"], skip_nulls=False).drop_null()
    sides = sides.filter(pc.greater(sides, 0))
    for name, column in (("duration_s", durations), ("short_side", sides)):
        if len(column):
            found[name] = np.asarray(column.to_numpy(), np.float64)
    return {name: numbers for name, numbers in found.items() if len(numbers)}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar: its position in the plot and the text that describes it."""

    x: float
    width: float
    within_height: float
    outside_height: float
    label: str

    @property
    def within_y(self) -> float:
        """Top of the part within the limits."""
        return HEIGHT - BOTTOM - self.within_height

    @property
    def outside_y(self) -> float:
        """Top of the part outside the limits, which is stacked on the other."""
        return self.within_y - self.outside_height


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """The plot of one measure, and its summary statistics as text."""

    name: str
    description: str
    count: int
    tallest: int  # items of the tallest bar
    has_limit: bool
    median: str
    smallest: str
    largest: str
    is_log: bool
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]  # x in pixels, label
    bounds: tuple[tuple[float, str], ...]  # x in pixels, label, of the limits within the plot
    outside: tuple[tuple[int, str, str], ...]  # count, description, reason, for each limit

    @property
    def summary(self) -> str:
        """Text alternative of the plot."""
        limits = "; ".join(f"{n:,} {text} ({reason})" for n, text, reason in self.outside)
        statistics = f"from {self.smallest} to {self.largest}, median {self.median}"
        return f"{self.name}: {counted(self.count, 'item')} {statistics}{f'; {limits}' if limits else ''}"


def histograms(numbers: Mapping[str, NDArray[np.float64]], limits: Mapping[str, Limit]) -> Iterator[Histogram]:
    """Yield one histogram per measure: those with a limit first, in the order of the limits."""
    for name in [*(n for n in limits if n in numbers), *sorted(n for n in numbers if n not in limits)]:
        yield histogram(numbers[name], limits.get(name, Limit(name)))


def histogram(numbers: NDArray[np.float64], limit: Limit) -> Histogram:
    """Return the histogram of the values [n] of one measure, n >= 1."""
    finite = np.sort(numbers[np.abs(numbers) < _HUGE])
    axis = _Axis.of(finite, limit)
    is_within = (finite >= limit.low) & (finite <= limit.high)
    within, outside = (
        np.histogram(axis.places(part).clip(0, 1), BARS, (0.0, 1.0))[0]
        for part in (finite[is_within], finite[~is_within])
    )
    tallest = max(1, int((within + outside).max()))
    median, smallest, largest = _statistics(finite)
    return Histogram(
        name=limit.name,
        description=limit.what,
        count=len(numbers),
        tallest=tallest,
        has_limit=math.isfinite(limit.low) or math.isfinite(limit.high),
        is_log=axis.is_log,
        bars=tuple(
            _bar(axis, n, int(within[n]), int(outside[n]), tallest) for n in range(BARS) if within[n] + outside[n]
        ),
        ticks=tuple(  # of two almost equal values, rounding can place one outside
            (_x(axis.place(tick)), shown(tick)) for tick in axis.ticks() if -1e-6 <= axis.place(tick) <= 1 + 1e-6
        ),
        bounds=tuple(
            (_x(axis.place(bound)), f"{words} {shown(bound)}")
            for bound, words in ((limit.low, "min"), (limit.high, "max"))
            if math.isfinite(bound) and 0 <= axis.place(bound) <= 1
        ),
        outside=tuple(_outside(numbers, limit)),
        median=median,
        smallest=smallest,
        largest=largest,
    )


def _statistics(finite: NDArray[np.float64]) -> tuple[str, str, str]:
    """Return median, minimum and maximum of sorted values as text; "none" without values.

    The median is one of the values; of an even number the lower of the middle two.
    """
    if not len(finite):
        return "none", "none", "none"
    return shown(finite[(len(finite) - 1) // 2]), shown(finite[0]), shown(finite[-1])


def _outside(numbers: NDArray[np.float64], limit: Limit) -> Iterator[tuple[int, str, str]]:
    if math.isfinite(limit.low):
        yield int((numbers < limit.low).sum()), f"below {shown(limit.low)}", limit.too_low.value
    if math.isfinite(limit.high):
        yield int((numbers > limit.high).sum()), f"above {shown(limit.high)}", limit.too_high.value
    if strange := int(np.isnan(numbers).sum()):
        yield strange, "not a number", limit.too_low.value if math.isfinite(limit.low) else limit.too_high.value


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    is_log: bool

    @classmethod
    def of(cls, finite: NDArray[np.float64], limit: Limit) -> _Axis:
        if not len(finite):
            return cls(0.0, 1.0, False)
        low, high = (float(n) if abs(n) > _TINY else 0.0 for n in (finite[0], finite[-1]))
        if limit.name.endswith("_share") and low >= 0 and high <= 1:
            return cls(0.0, 1.0, False)
        is_log = low > 0 and high / low >= _LOG_RATIO
        if low == high:  # a single value is centered, except 0: few measures are negative
            low, high = (low - abs(low) / 2, high + abs(low) / 2) if low else (0.0, 1.0)
        scale = math.log if is_log else float
        first, last = scale(low), scale(high)
        room = (last - first) * _LIMIT_MARGIN
        for bound in (limit.low, limit.high):
            if math.isfinite(bound) and not (is_log and bound <= 0) and first - room <= scale(bound) <= last + room:
                low, high = min(low, bound), max(high, bound)
        return cls(low, high, is_log)

    def places(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the positions of numbers on the axis, 0 to 1."""
        if self.is_log:
            first = math.log(self.low)
            return (np.log(numbers) - first) / (math.log(self.high) - first)
        return (numbers - self.low) / (self.high - self.low)

    def place(self, number: float) -> float:
        if self.is_log and number <= 0:
            return -1.0
        return float(self.places(np.array([number]))[0])

    def number(self, place: float) -> float:
        if self.is_log:
            return math.exp(math.log(self.low) + place * (math.log(self.high) - math.log(self.low)))
        return self.low + place * (self.high - self.low)

    def ticks(self) -> list[float]:
        """Return round tick values: steps of 1, 2 or 5 times a power of ten; powers of ten on a logarithmic axis."""
        if self.is_log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            if last - first < 2:
                some = (10.0**power * factor for power in range(first - 1, last + 1) for factor in (1, 2, 5))
                return [tick for tick in some if self.low <= tick <= self.high]
            return [10.0**power for power in range(first, last + 1, max(1, round((last - first) / _TICKS)))]
        rough = (self.high - self.low) / _TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [n * step for n in range(first, last + 1)]


def _x(place: float) -> float:
    return round(LEFT + place * (WIDTH - LEFT - RIGHT), 1)


def _bar(axis: _Axis, number: int, within: int, outside: int, tallest: int) -> Bar:
    room = HEIGHT - TOP - BOTTOM
    left, right = _x(number / BARS), _x((number + 1) / BARS)
    span = f"{shown(axis.number(number / BARS))} to {shown(axis.number((number + 1) / BARS))}"
    parts = ", ".join(f"{n:,} {words}" for n, words in ((within, "within"), (outside, "outside")) if n)
    heights = [round(max(1.0, n / tallest * room) if n else 0.0, 1) for n in (within, outside)]
    return Bar(
        x=left,
        width=round(right - left - 1, 1),
        within_height=heights[0],
        outside_height=heights[1],
        label=f"{span}: {parts}",
    )
