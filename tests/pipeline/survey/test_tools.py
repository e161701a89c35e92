"""The tools that the survey gives to item kinds."""

from __future__ import annotations

import pytest

from pipeline.survey.config import SurveyConfig
from pipeline.survey.tools import SurveyTools
from pipeline.text.options import TextOptions
from pipeline.video.decoder import DecodeConfig, Decoder


def test_the_decoder_is_available_in_workers_only() -> None:
    with pytest.raises(RuntimeError, match="open in workers only"):
        _ = SurveyTools(config=SurveyConfig(), text=TextOptions()).open_decoder
    with Decoder(DecodeConfig()) as decoder:
        assert SurveyTools(config=SurveyConfig(), text=TextOptions(), decoder=decoder).open_decoder is decoder
