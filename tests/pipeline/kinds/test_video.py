"""Videos through their kind: survey, clips and fingerprints."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline.dedup.video_similarity import VideoSimilarity
from pipeline.kinds.video import VIDEO
from pipeline.survey.tools import SurveyTools
from pipeline.tokenize.clips import ClipConfig
from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.tools import TokenizeTools
from schemas.rows import SurveyRow, TimeRange
from tests.pipeline.kinds.conftest import survey_row
from tests.support.inputs.media import make_video


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("videos") / "a.mp4", frames=50)


def test_a_surveyed_video_has_a_duration_and_sampled_frames(path: Path, survey_tools: SurveyTools) -> None:
    found = VIDEO.survey(path, survey_tools)
    assert found.visual is not None
    assert (found.visual.codec, found.visual.width, found.visual.height) == ("h264", 96, 64)
    assert found.visual.duration_s == pytest.approx(2.0, abs=0.05)
    assert found.signature is not None
    assert len(found.signature.samples) == len(found.signature.starts) > 1


@pytest.mark.slow
def test_a_video_is_one_document_or_one_per_time_range(
    path: Path, survey_tools: SurveyTools, tokenize_tools: TokenizeTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = survey_row(path, "video", VIDEO.survey(path, survey_tools))
    (whole,) = VIDEO.tokenize(path, row, tokenize_tools)
    assert (whole.frames, whole.clip, whole.clip_number) == (4, None, None)
    cutting = ClipConfig(clips="seconds", max_clip_s=1.0)
    monkeypatch.setattr(tokenize_tools, "config", dataclasses.replace(tokenize_tools.config, cutting=cutting))
    clips = VIDEO.tokenize(path, row, tokenize_tools)
    assert [clip.clip for clip in clips] == [TimeRange(0.0, 1.0), TimeRange(1.0, 2.0)]
    assert [clip.clip_number for clip in clips] == [0, 1]
    assert sum(clip.frames for clip in clips) == whole.frames


def test_the_token_fingerprint_changes_with_clips_and_shot_detection() -> None:
    row, config = SurveyRow(uri="a.mp4", kind="video"), TokenizeConfig()
    before = VIDEO.token_fingerprint(row, config)
    assert VIDEO.token_fingerprint(row, dataclasses.replace(config, shots="none")) != before
    assert VIDEO.token_fingerprint(row, dataclasses.replace(config, cutting=ClipConfig(clips="shots"))) != before
    assert VIDEO.token_fingerprint(dataclasses.replace(row, title="Another"), config) == before


def test_videos_are_compared_by_video_similarity() -> None:
    assert isinstance(VIDEO.similarity(), VideoSimilarity)
