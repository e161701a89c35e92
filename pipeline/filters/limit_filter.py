"""The filter by numbers: every number of an item must lie within its limit.

One table (`pipeline.filters.limit_table`) holds the default limits. `--limit NAME=MIN:MAX` replaces one of them or adds
one, on the number of a registered score as well as on a number of the survey.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from tyro.conf import UseAppendAction

from pipeline.filters.filter import Rejection
from pipeline.filters.limit import Limit
from pipeline.filters.limit_table import DEFAULTS
from pipeline.filters.numbers import numbers
from schemas.errors import ConfigError
from schemas.rows import SurveyRow


@dataclass(frozen=True, kw_only=True)
class LimitFilter:
    """Keeps items whose numbers all lie within their limits. A number that an item does not have is not checked."""

    limit: UseAppendAction[tuple[str, ...]] = ()
    """A limit on a number that the survey measured, as NAME=MIN:MAX; either bound may be empty. Repeat the option for
    several limits. `longreel explain ITEM` shows all numbers and limits."""

    def __post_init__(self) -> None:
        parse_limits(self.limit)

    @cached_property
    def limits(self) -> Mapping[str, Limit]:
        """The limits that apply, by name: the defaults, and those of `limit`."""
        return parse_limits(self.limit)

    def reject(self, item: SurveyRow) -> Rejection | None:
        """See pipeline.filters.filter.Filter."""
        return reject_numbers(numbers(item), self.limits)


def parse_limits(texts: Iterable[str], known: Mapping[str, Limit] = DEFAULTS) -> dict[str, Limit]:
    """Return the limits `known`, updated by `texts`, each NAME=MIN:MAX with optional bounds.

    A limit keeps the reasons and the description of the one that it replaces. Raises ConfigError for a text of another
    form. A name that is not known may be that of a score; see `require_known`.
    """
    limits = dict(known)
    for text in texts:
        name, low, high = _parse(text)
        old = limits.get(name, Limit(name))
        limits[name] = Limit(name, low, high, old.too_low, old.too_high, old.what)
    return limits


def _parse(text: str) -> tuple[str, float, float]:
    name, equals, bounds = text.partition("=")
    low, colon, high = (part.strip() for part in bounds.partition(":"))
    try:
        minimum, maximum = float(low or -math.inf), float(high or math.inf)
    except ValueError:
        minimum = maximum = math.nan
    if not (name.strip() and equals and colon and minimum <= maximum):
        raise ConfigError(f"a limit must be NAME=MIN:MAX, with MIN <= MAX or either left empty, got {text!r}")
    return name.strip(), minimum, maximum


def require_known(limits: Mapping[str, Limit], measured: Iterable[str]) -> None:
    """Raise ConfigError for a limit on a number that no item has and that has no default; suggest the nearest name."""
    names = sorted({*measured, *DEFAULTS})
    for name in limits:
        if name not in names:
            nearest = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"the numbers are {', '.join(names)}"
            raise ConfigError(f"--limit {name}: no item has a number of this name; {hint}")


def reject_numbers(found: Mapping[str, float], limits: Mapping[str, Limit]) -> Rejection | None:
    """Return the rejection by the first of `limits` that one of the numbers `found` breaks, or None."""
    rejections = (limit.reject(found[name]) for name, limit in limits.items() if name in found)
    return next((rejection for rejection in rejections if rejection), None)
