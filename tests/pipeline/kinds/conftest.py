"""A decoder, and tokenizers of both modalities, for tests that call an item kind directly."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.kinds.kind import Surveyed
from pipeline.survey.config import SurveyConfig
from pipeline.survey.tools import SurveyTools
from pipeline.text.options import TextOptions
from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.tools import TokenizeTools
from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.rows import SurveyRow
from tokenizer.text.tokenizer import TextTokenizer
from tokenizer.text.training import TextTrainConfig, train_text_tokenizer


@pytest.fixture(scope="package")
def decoder() -> Iterator[Decoder]:
    with Decoder(DecodeConfig(fps=2)) as decoder:
        yield decoder


@pytest.fixture(scope="package")
def survey_tools(decoder: Decoder) -> SurveyTools:
    return SurveyTools(config=SurveyConfig(), text=TextOptions(), decoder=decoder)


@pytest.fixture(scope="package")
def tokenize_tools(decoder: Decoder, tmp_path_factory: pytest.TempPathFactory) -> TokenizeTools:
    path = tmp_path_factory.mktemp("text") / "text.model"
    words = ["a caption that somebody speaks twice\n"]
    model = train_text_tokenizer(words, path, TextTrainConfig(vocab_size=512))
    return TokenizeTools(decoder, TextTokenizer.load(model), TokenizeConfig(decode=decoder.config))


def survey_row(path: Path, kind: str, found: Surveyed, **changes: object) -> SurveyRow:
    """Return the row that the survey's worker makes from what a kind found."""
    row = SurveyRow(
        uri=str(path),
        kind=kind,
        document_id="d" * 64,
        content_id=found.content_id,
        visual=found.visual,
        text=found.text,
        measures=found.measures,
        cuts=found.cuts,
    )
    return dataclasses.replace(row, **changes)  # type: ignore[arg-type]
