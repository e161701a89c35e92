"""The protocol of a filter: it returns the reason it rejects a surveyed item for, or None."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from schemas.errors import Reason
from schemas.rows import SurveyRow


class Rejection(NamedTuple):
    """Why an item is rejected."""

    reason: Reason
    detail: str  # the value received, what is allowed, and the option that changes it


class Filter(Protocol):
    """Rejects items by what the survey measured; no file is opened.

    An implementation is a frozen dataclass whose fields are its options on the command line. The result depends on
    the item and the options only. To add a filter, write its module and add one field to
    `pipeline.filters.registry.Filters`.
    """

    def reject(self, item: SurveyRow) -> Rejection | None:
        """Return why `item`, a row of the survey, is rejected, or None if it is kept."""
        ...
