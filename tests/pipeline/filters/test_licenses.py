"""The filter by license."""

from __future__ import annotations

import pytest

from pipeline.filters.licenses import LicenseFilter
from schemas.errors import ConfigError, Reason
from tests.support.survey_rows import typed, video

MISSING = "it has no license; give it one in the manifest or by --license, or add unknown to --licenses"


@pytest.mark.parametrize(
    ("license", "allowed", "detail"),
    [
        ("anything", (), None),
        (None, (), None),
        ("CC0-1.0", ("CC0-1.0", "MIT"), None),
        (" cc0-1.0 ", ("CC0-1.0",), None),
        ("CC0-1.0", (" cc0-1.0",), None),
        ("GPL-3.0", ("CC0-1.0", "MIT"), "license 'GPL-3.0' is not one of CC0-1.0, MIT (--licenses)"),
        ("CC0-1.0+", ("CC0-1.0",), "license 'CC0-1.0+' is not one of CC0-1.0 (--licenses)"),
        (None, ("MIT",), MISSING),
        ("  ", ("MIT",), MISSING),
        (None, ("MIT", "Unknown"), None),
        ("GPL-3.0", ("unknown",), "license 'GPL-3.0' is not one of unknown (--licenses)"),
    ],
)
def test_a_license_must_be_listed_if_any_is(license: str | None, allowed: tuple[str, ...], detail: str | None) -> None:
    rejection = LicenseFilter(licenses=allowed).reject(typed(video(license=license)))
    assert rejection == (detail and (Reason.LICENSE, detail))


def test_an_empty_license_raises() -> None:
    with pytest.raises(ConfigError, match="licenses must not be empty"):
        LicenseFilter(licenses=("MIT", " "))
