"""The registry: filters apply in order, their options reach the command line, and a new filter is one class and one
field."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import pytest
import tyro
from tyro.conf import arg

from pipeline.filters.filter import Filter, Rejection
from pipeline.filters.languages import LanguageFilter
from pipeline.filters.licenses import LicenseFilter
from pipeline.filters.limit_filter import LimitFilter
from pipeline.filters.registry import Filters
from pipeline.runtime.beam import Runner
from pipeline.runtime.workspace import Workspace
from pipeline.select import config as select_config
from pipeline.select.config import SelectConfig, as_options
from pipeline.select.job import select_items
from pipeline.select.quarantine import write_quarantine
from schemas.errors import Reason
from schemas.rows import SurveyRow
from tests.support.survey_rows import book, typed, video, write_survey


@dataclass(frozen=True, kw_only=True)
class TitleFilter:
    """A filter that exists in this test only: it keeps items with a title."""

    require_title: bool = False
    """Reject items without a title."""

    def reject(self, item: SurveyRow) -> Rejection | None:
        """See pipeline.filters.filter.Filter."""
        if not self.require_title or item.title:
            return None
        return Rejection(Reason.QUALITY, "the manifest has no title for it (--require-title)")


@dataclass(frozen=True, kw_only=True)
class FiltersWithTitle(Filters):
    """The registry with the new filter."""

    title: Annotated[TitleFilter, arg(name="")] = field(default_factory=TitleFilter)


@dataclass(frozen=True, kw_only=True)
class ConfigWithTitle(SelectConfig):
    """The options of `select` with the new registry."""

    filters: Annotated[FiltersWithTitle, arg(name="")] = field(default_factory=FiltersWithTitle)


def test_filters_apply_in_the_order_of_their_fields() -> None:
    filters = Filters(license=LicenseFilter(licenses=("MIT",)), language=LanguageFilter(languages=("de",)))
    assert [type(one) for one in filters] == [LicenseFilter, LanguageFilter, LimitFilter]
    bad = book(license="GPL-3.0", language="en", measures={"words": 1.0})
    reasons = []
    for fix in ({}, {"license": "MIT"}, {"language": "de"}, {"measures": {"words": 1e4}}):
        bad |= fix
        rejection = filters.reject(typed(bad))
        reasons.append(rejection and rejection.reason)
    assert reasons == [Reason.LICENSE, Reason.LANGUAGE, Reason.TOO_SHORT, None]


def test_options_of_all_filters_are_options_of_select() -> None:
    words = ["--limit", "words=9:", "--limit", "motion=:2", "--licenses", "MIT", "CC0-1.0", "--languages", "de"]
    config = tyro.cli(SelectConfig, args=words)
    assert config.filters == Filters(
        license=LicenseFilter(licenses=("MIT", "CC0-1.0")),
        language=LanguageFilter(languages=("de",)),
        limit=LimitFilter(limit=("words=9:", "motion=:2")),
    )
    assert as_options(config) == "--licenses MIT CC0-1.0 --languages de --limit words=9: --limit motion=:2"


def test_a_registered_filter_has_options_and_rejects_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select_config, "SelectConfig", ConfigWithTitle)  # stored options are read as this class
    config = tyro.cli(ConfigWithTitle, args=["--require-title"])
    filters: list[Filter] = list(config.filters)
    assert filters[-1] == TitleFilter(require_title=True)
    rows = [
        video("/v/titled.mp4", title="A film"),
        video("/v/untitled.mp4"),
        video("/v/dark.mp4", title="Night", measures={"brightness": 0.0}),
    ]
    workspace = Workspace.open(tmp_path / "out", units=2)
    write_survey(workspace, rows)
    report = select_items(workspace, config, Runner())
    assert (report.kept, report.rejected) == (1, {"quality": 1, "black": 1})
    assert write_quarantine(workspace) == 2
    assert select_items(workspace, config, Runner()).new == 0
    off = replace(config, filters=FiltersWithTitle())
    assert select_items(workspace, off, Runner()).kept == 2


@pytest.mark.parametrize("kind", ["video", "image", "book", "qa"])
def test_defaults_keep_a_good_item_of_any_kind(kind: str) -> None:
    row = video(kind=kind) if kind in ("video", "image") else book(kind=kind)
    assert Filters().reject(typed(row)) is None
