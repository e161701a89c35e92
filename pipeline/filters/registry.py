"""The registry of filters: what `longreel select` applies to each item, in which order, with which options."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Annotated

from tyro.conf import arg

from pipeline.filters.filter import Filter, Rejection
from pipeline.filters.languages import LanguageFilter
from pipeline.filters.licenses import LicenseFilter
from pipeline.filters.limit_filter import LimitFilter
from schemas.rows import SurveyRow

_FLAT = arg(name="")  # the options of a filter do not repeat its name


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Every filter, in the order in which they are applied. A new filter is one more field."""

    license: Annotated[LicenseFilter, _FLAT] = field(default_factory=LicenseFilter)
    language: Annotated[LanguageFilter, _FLAT] = field(default_factory=LanguageFilter)
    limit: Annotated[LimitFilter, _FLAT] = field(default_factory=LimitFilter)

    def __iter__(self) -> Iterator[Filter]:
        return (getattr(self, f.name) for f in fields(self))

    def reject(self, item: SurveyRow) -> Rejection | None:
        """Return the rejection of the first filter that rejects `item`, or None if all keep it."""
        rejections = (one.reject(item) for one in self)
        return next((rejection for rejection in rejections if rejection), None)
