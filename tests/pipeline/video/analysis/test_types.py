"""The configuration of the video analysis."""

from __future__ import annotations

import dataclasses

import pytest

from pipeline.video.analysis.types import AnalysisConfig


def test_frames_are_returned_on_request_only() -> None:
    assert AnalysisConfig() == AnalysisConfig(thumbnails=5, decode_below_s=60.0, frames=False)


def test_configuration_is_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        AnalysisConfig().thumbnails = 3  # type: ignore[misc]
