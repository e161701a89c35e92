"""What videos and images share: crops, transcripts and fingerprints."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from PIL import Image

from pipeline.kinds.image import IMAGE
from pipeline.kinds.video import VIDEO
from pipeline.kinds.visual import crop_of, tokenize_frames
from pipeline.survey.config import SurveyConfig
from pipeline.survey.tools import SurveyTools
from pipeline.text.books import BookConfig
from pipeline.text.transcripts.reading import TranscriptConfig
from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.interleave import VisionSegment, parse_document
from pipeline.tokenize.tools import TokenizeTools
from pipeline.video.decoder import DecodeConfig
from schemas.deadline import time_limit
from schemas.errors import InputError, Reason
from schemas.fingerprint import fingerprint, sha256_file
from schemas.rows import EMBEDDED, Crop, SurveyRow, VisualFacts
from schemas.vocab import TEXT
from tests.pipeline.kinds.conftest import survey_row
from tests.support.inputs.media import make_video, numbered

BARS = Crop(0, 10, 96, 44)
ROW = SurveyRow(uri="a.mp4", kind="video", visual=VisualFacts(width=96, height=64, crop=BARS))


def test_only_a_crop_smaller_than_the_picture_is_applied() -> None:
    config = TokenizeConfig()
    assert crop_of(ROW, config) == BARS
    assert crop_of(ROW, dataclasses.replace(config, crop_bars=False)) is None
    whole = VisualFacts(width=96, height=64, crop=Crop(0, 0, 96, 64))
    assert crop_of(dataclasses.replace(ROW, visual=whole), config) is None
    assert crop_of(dataclasses.replace(ROW, visual=None), config) is None


def test_the_token_fingerprint_changes_with_crop_frames_and_transcript() -> None:
    config = TokenizeConfig()
    before = VIDEO.token_fingerprint(ROW, config)
    assert VIDEO.token_fingerprint(ROW, dataclasses.replace(config, crop_bars=False)) != before
    assert VIDEO.token_fingerprint(ROW, dataclasses.replace(config, decode=DecodeConfig(fps=1))) != before
    assert VIDEO.token_fingerprint(dataclasses.replace(ROW, transcript=EMBEDDED), config) != before
    shifts = [dataclasses.replace(ROW, transcript="a.srt", transcript_shift_s=shift) for shift in (None, 0.0, 2.0)]
    assert len({fingerprint(VIDEO.token_fingerprint(row, config)) for row in shifts}) == 3
    encoding = dataclasses.replace(config, transcripts=TranscriptConfig(encoding="latin-1"))
    assert VIDEO.token_fingerprint(ROW, encoding) == before  # the video has no transcript
    assert VIDEO.token_fingerprint(ROW, dataclasses.replace(config, books=BookConfig(mask_pii=True))) == before


def test_the_survey_fingerprint_changes_with_the_number_of_sampled_frames(survey_tools: SurveyTools) -> None:
    before = VIDEO.survey_fingerprint(survey_tools)
    for config, is_equal in ((SurveyConfig(thumbnails=9), False), (SurveyConfig(max_bytes=9), True)):
        found = VIDEO.survey_fingerprint(dataclasses.replace(survey_tools, config=config))
        assert (found == before) is is_equal


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF"])
def test_the_number_of_frames_makes_an_image_or_a_video_whatever_the_listed_kind(
    tmp_path: Path, survey_tools: SurveyTools, format: str, frames: int
) -> None:
    pictures = [Image.fromarray(numbered(n, (96, 64))) for n in range(frames)]
    pictures[0].save(tmp_path / "a.bin", format, save_all=True, append_images=pictures[1:], duration=400)
    found = [kind.survey(tmp_path / "a.bin", survey_tools) for kind in (IMAGE, VIDEO)]
    assert {surveyed.kind for surveyed in found} == {"image" if frames == 1 else "video"}
    for surveyed in found:
        assert surveyed.visual is not None
        assert surveyed.visual.duration_s == (None if frames == 1 else pytest.approx(1.2))


@pytest.mark.slow
def test_a_transcript_is_interleaved_with_frames_and_rejected_if_it_changed(
    tmp_path: Path, survey_tools: SurveyTools, tokenize_tools: TokenizeTools
) -> None:
    path, sidecar = make_video(tmp_path / "a.mp4", frames=50), tmp_path / "a.srt"
    sidecar.write_text("1\n00:00:00,500 --> 00:00:01,000\nsomebody speaks\n")
    facts = {"transcript": str(sidecar), "transcript_sha256": sha256_file(sidecar)}
    row = survey_row(path, "video", VIDEO.survey(path, survey_tools), **facts)
    checks: list[bool] = []
    with time_limit(None, check=lambda: checks.append(True)):
        (found,) = tokenize_frames(path, row, tokenize_tools)
    assert checks  # of a stop, and whether it takes long
    document = found.document
    segments = list(
        parse_document(document.tokens, vocabulary=tokenize_tools.vocabulary, frame_tokens=document.frame_tokens)
    )
    texts = [tokenize_tools.text.decode(s.ids).strip() for s in segments if not isinstance(s, VisionSegment)]
    assert "somebody speaks" in texts
    assert sum(len(s.codes) for s in segments if isinstance(s, VisionSegment)) == found.frames == 4
    shifted = dataclasses.replace(row, transcript_shift_s=0.5)
    (later,) = tokenize_frames(path, shifted, tokenize_tools)
    times = [[s.start_s for s in found.document.spans if s.modality == TEXT and s.start_s] for found in (found, later)]
    assert times == [[0.5], [1.0]]
    sidecar.write_text("1\n00:00:00,500 --> 00:00:01,000\nnobody speaks\n")
    (without,) = tokenize_frames(path, shifted, tokenize_tools)
    assert without.detail is not None
    assert without.detail.startswith("the transcript of its copy is not used: ")
    with pytest.raises(InputError) as caught:
        tokenize_frames(path, row, tokenize_tools)
    assert caught.value.reason is Reason.CHANGED
