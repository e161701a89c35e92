"""Options of tokenize that depend on each other."""

from __future__ import annotations

import pytest

from pipeline.tokenize.clips import ClipConfig
from pipeline.tokenize.config import TokenizeConfig
from schemas.errors import ConfigError


def test_clips_by_shots_require_shot_detection() -> None:
    with pytest.raises(ConfigError, match="clips=shots requires shot detection"):
        TokenizeConfig(cutting=ClipConfig(clips="shots"), shots="none")


def test_whole_videos_do_not_require_shot_detection() -> None:
    assert TokenizeConfig(shots="none").cutting.clips == "whole"


def test_an_unknown_shot_detector_is_an_error_that_names_it() -> None:
    with pytest.raises(ConfigError, match="nosuch"):
        TokenizeConfig(shots="nosuch")  # type: ignore[arg-type]
