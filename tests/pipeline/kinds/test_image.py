"""Images through their kind: survey and tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pipeline.dedup.image_similarity import ImageSimilarity
from pipeline.kinds.image import IMAGE
from pipeline.survey.tools import SurveyTools
from pipeline.tokenize.interleave import VisionSegment, parse_document
from pipeline.tokenize.tools import TokenizeTools
from tests.pipeline.kinds.conftest import survey_row
from tests.support.inputs.media import numbered


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Image.fromarray(numbered(7, (128, 96))).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_a_surveyed_image_has_a_size_and_no_duration(path: Path, survey_tools: SurveyTools) -> None:
    found = IMAGE.survey(path, survey_tools)
    assert found.visual is not None
    assert (found.visual.width, found.visual.height, found.visual.duration_s) == (128, 96, None)
    assert found.signature is not None
    assert len(found.signature.samples) == 1


@pytest.mark.slow
def test_an_image_is_one_document_of_one_frame_with_its_caption(
    path: Path, survey_tools: SurveyTools, tokenize_tools: TokenizeTools
) -> None:
    row = survey_row(path, "image", IMAGE.survey(path, survey_tools), captions=("a caption",))
    (found,) = IMAGE.tokenize(path, row, tokenize_tools)
    assert (found.frames, found.frames_promised, found.clip, found.clip_number) == (1, 1, None, None)
    document = found.document
    segments = parse_document(document.tokens, vocabulary=tokenize_tools.vocabulary, frame_tokens=document.frame_tokens)
    texts = [tokenize_tools.text.decode(s.ids) for s in segments if not isinstance(s, VisionSegment)]
    codes = [s.codes for s in segments if isinstance(s, VisionSegment)]
    assert "".join(texts).strip() == "a caption"
    assert [c.shape for c in codes] == [(1, document.frame_tokens - 1)]


def test_images_are_compared_by_image_similarity() -> None:
    assert isinstance(IMAGE.similarity(), ImageSimilarity)
    assert IMAGE.takes_captions
    assert not IMAGE.takes_transcripts
