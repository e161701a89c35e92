"""The protocol of a filter, implemented by the registered filters and by a custom one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from pipeline.filters.filter import Filter, Rejection
from pipeline.filters.registry import Filters
from schemas.errors import Reason
from schemas.rows import SurveyRow
from tests.support.survey_rows import typed, video


@dataclass(frozen=True, kw_only=True)
class _ShortTitle:
    most: int = 5

    def reject(self, item: SurveyRow) -> Rejection | None:
        title = item.title or ""
        if len(title) <= self.most:
            return None
        return Rejection(Reason.TOO_LONG, f"the title has {len(title)} characters, the limit is {self.most}")


def test_a_custom_filter_rejects_with_reason_and_detail() -> None:
    custom: Filter = _ShortTitle()
    assert custom.reject(typed(video(title="short"))) is None
    rejection = custom.reject(typed(video(title="longer")))
    assert rejection == (Reason.TOO_LONG, "the title has 6 characters, the limit is 5")


def test_every_registered_filter_is_a_frozen_dataclass_that_keeps_a_good_item() -> None:
    filters = Filters()
    for field in dataclasses.fields(filters):
        registered: Filter = getattr(filters, field.name)
        assert dataclasses.is_dataclass(registered)
        assert registered.reject(typed(video())) is None
