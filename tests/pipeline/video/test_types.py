"""The configuration of the decoder and its report."""

from __future__ import annotations

import pytest

from pipeline.video.types import DecodeConfig, DecodeReport
from schemas.errors import ConfigError


@pytest.mark.parametrize(
    ("field", "value"),
    [("size", 4), ("fps", 0.0), ("backend", "opencv"), ("batch", 0), ("slots", 1), ("time_limit_s", 0.0)],
)
def test_invalid_options_are_rejected_by_name(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field):
        DecodeConfig(**{field: value})  # type: ignore[arg-type]


def test_fingerprint_covers_what_changes_frames_and_ignores_limits() -> None:
    assert DecodeConfig().fingerprint_fields == DecodeConfig(batch=3, time_limit_s=1.0, slots=9).fingerprint_fields
    assert len({str(DecodeConfig(**change).fingerprint_fields) for change in ({}, {"size": 64}, {"fps": 2.0})}) == 3  # type: ignore[arg-type]


def test_shortfall_is_the_number_of_missing_frames() -> None:
    def report(frames: int) -> DecodeReport:
        return DecodeReport(frames, 10, 1.0, 1.0, frames, 0, 0, 0, 0, interlaced=False, detail="")

    assert [report(frames).shortfall for frames in (7, 10, 12)] == [3, 0, 0]
