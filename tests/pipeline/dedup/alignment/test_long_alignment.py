"""Whole videos that key frames of different moments were sampled from: copies agree, other recordings do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.dedup.alignment.long_alignment import ActivityThresholds, align_long, best_long_alignment
from pipeline.dedup.sampled_frames import SampledFrames
from pipeline.dedup.similarity import Shared, Signature
from pipeline.dedup.video_similarity import VideoSimilarity
from pipeline.video.analysis.analyze import analyze_video
from pipeline.video.analysis.types import AnalysisConfig
from pipeline.video.types import DecodeConfig
from tests.support.encodings import Studio

pytestmark = pytest.mark.slow

VIDEO = VideoSimilarity()
INTERVIEW = Studio(1, 130)


def survey(path: Path) -> Signature:
    stats = analyze_video(path, AnalysisConfig(), DecodeConfig())
    return Signature(path.name, "video", stats.times_s, stats.durations_s, stats.signatures, stats.activity)


def compare(a: Signature, b: Signature) -> Shared | None:
    found, back = VIDEO.compare(a, b), VIDEO.compare(b, a)
    assert (found and found.swapped()) == back
    return found


@pytest.fixture(scope="module")
def interview(tmp_path_factory: pytest.TempPathFactory) -> Signature:
    return survey(INTERVIEW.write(tmp_path_factory.mktemp("interview") / "a.mp4"))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"rate": 12, "start_s": 0.08, "key_frame_s": 10.4}, id="frame rate"),
        pytest.param({"key_frame_s": 4.7, "start_s": 1.3, "crf": "34"}, marks=pytest.mark.campaign, id="start"),
        pytest.param({"codec": "mpeg4", "key_frame_s": 8.3}, marks=pytest.mark.campaign, id="codec"),
    ],
)
def test_another_encoding_of_a_whole_video_is_contained(
    tmp_path: Path, interview: Signature, changes: dict[str, object]
) -> None:
    copy = survey(INTERVIEW.write(tmp_path / "b.mp4", **changes))  # type: ignore[arg-type]
    found = compare(interview, copy)
    assert found is not None
    assert min(found.containment_a, found.containment_b) > 0.9
    assert not found.mirrored


def test_a_flipped_copy_is_contained_and_marked(tmp_path: Path, interview: Signature) -> None:
    found = compare(interview, survey(INTERVIEW.write(tmp_path / "b.mp4", mirrored=True, key_frame_s=7.1)))
    assert found is not None
    assert found.mirrored
    assert min(found.containment_a, found.containment_b) > 0.9


def test_a_long_part_is_found_at_its_place(tmp_path: Path, interview: Signature) -> None:
    found = compare(interview, survey(INTERVIEW.write(tmp_path / "b.mp4", start_s=41.3, end_s=120, key_frame_s=9.1)))
    assert found is not None
    assert found.containment_b > 0.9
    assert found.containment_a == pytest.approx(78.7 / 130, abs=0.08)
    assert found.shared_a[0][0] == pytest.approx(41.3, abs=5)


@pytest.mark.parametrize("seed", [2, pytest.param(3, marks=pytest.mark.campaign)])
def test_another_interview_in_the_same_studio_is_not_contained(tmp_path: Path, interview: Signature, seed: int) -> None:
    found = compare(interview, survey(Studio(seed, 130).write(tmp_path / "b.mp4")))
    assert found is None or max(found.containment_a, found.containment_b) < 0.5


def test_two_parts_of_one_interview_are_not_contained(tmp_path: Path, interview: Signature) -> None:
    later = Studio(1, 260)
    found = compare(interview, survey(later.write(tmp_path / "b.mp4", start_s=130)))
    assert found is None or max(found.containment_a, found.containment_b) < 0.5


def test_an_alignment_is_that_of_the_swapped_videos(interview: Signature, tmp_path: Path) -> None:
    one = SampledFrames.of(interview)
    other = SampledFrames.of(survey(INTERVIEW.write(tmp_path / "b.mp4", start_s=1.0, key_frame_s=3)))
    thresholds = ActivityThresholds()
    found, back = align_long(one, other, -1.0, thresholds), align_long(other, one, 1.0, thresholds)
    assert found is not None
    assert back is not None
    assert found == back.swapped()
    best = best_long_alignment(one, other, thresholds)
    assert best is not None
    assert best.offset == pytest.approx(-1.0, abs=0.3)
    assert align_long(one, other, 20.0, thresholds) is None


def test_a_video_without_a_course_has_no_long_alignment(interview: Signature) -> None:
    still = Signature("s", "video", interview.starts, interview.lengths, interview.samples)
    one, other = SampledFrames.of(interview), SampledFrames.of(still)
    assert best_long_alignment(one, other, ActivityThresholds()) is None
