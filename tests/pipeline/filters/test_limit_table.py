"""The table of default limits agrees with the numbers that are measured."""

from __future__ import annotations

from pipeline.filters.limit_table import DEFAULTS, TEXT_RULES
from pipeline.filters.text_rules import measure
from pipeline.text.cleaning.steps import STEPS, clean
from pipeline.text.formats.epub import LOST_CHAPTERS
from pipeline.text.personal_data import mask_personal_data
from schemas.errors import Reason

ENGLISH = "It was the best of times, and that is what they have to say with it.\n\nThe end.\n"


def test_every_default_limit_is_stored_under_its_name() -> None:
    assert all(name == limit.name for name, limit in DEFAULTS.items())


def test_every_default_limit_describes_its_number() -> None:
    assert all(limit.what for limit in DEFAULTS.values())


def test_every_number_that_cleaning_counts_has_a_description() -> None:
    counts = clean("One line.\n", [step.name for step in STEPS])[1] | mask_personal_data("nobody")[1]
    assert counts.keys() | {LOST_CHAPTERS} <= DEFAULTS.keys()


def test_every_text_rule_is_measured_and_every_measured_rule_has_a_limit() -> None:
    assert measure(ENGLISH, "en").keys() == set(TEXT_RULES)


def test_text_rules_reject_for_quality() -> None:
    for name in TEXT_RULES:
        limit = DEFAULTS[name]
        rejections = [limit.reject(number) for number in (limit.low - 1, limit.high + 1)]
        assert {r.reason for r in rejections if r} == {Reason.QUALITY}
