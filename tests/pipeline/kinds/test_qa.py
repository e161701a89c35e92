"""Question-answer files through their kind: survey, tokens, texts and fingerprints."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.kinds.qa import QA
from pipeline.survey.tools import SurveyTools
from pipeline.text.options import TextOptions
from pipeline.text.qa import QaConfig
from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.tools import TokenizeTools
from schemas.errors import InputError
from tests.pipeline.kinds.conftest import survey_row

TURNS = [{"role": "question", "text": "Why?"}, {"role": "answer", "text": "Because."}]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.qa.json"
    path.write_text(json.dumps({"turns": TURNS}))
    return path


def test_only_answers_have_a_loss_weight(path: Path, survey_tools: SurveyTools, tokenize_tools: TokenizeTools) -> None:
    row = survey_row(path, "qa", QA.survey(path, survey_tools))
    (document,) = QA.tokenize(path, row, tokenize_tools)
    tokens, spans = document.document.tokens, document.document.spans
    weighted = [tokens[s.start : s.start + s.length] for s in spans if s.weight]
    assert tokenize_tools.text.decode(np.concatenate(weighted)[:-1]).strip() == "Because."
    assert weighted[-1][-1] == tokenize_tools.vocabulary.eos_id
    assert sum(s.length for s in spans) == len(tokens)


def test_texts_contain_questions_and_answers(path: Path, survey_tools: SurveyTools) -> None:
    row = survey_row(path, "qa", QA.survey(path, survey_tools))
    (text,) = QA.texts(path, row, TextOptions())
    assert "Why?" in text
    assert "Because." in text


def test_a_malformed_file_is_rejected_by_the_survey(path: Path, survey_tools: SurveyTools) -> None:
    path.write_text('{"turns": 3}')
    with pytest.raises(InputError):
        QA.survey(path, survey_tools)


def test_the_token_fingerprint_changes_with_the_layout_only(path: Path, survey_tools: SurveyTools) -> None:
    row, config = survey_row(path, "qa", QA.survey(path, survey_tools)), TokenizeConfig()
    before = QA.token_fingerprint(row, config)
    assert QA.token_fingerprint(dataclasses.replace(row, title="Another"), config) == before
    assert QA.token_fingerprint(row, dataclasses.replace(config, crop_bars=False)) == before
    other = dataclasses.replace(config, qa=QaConfig(question_prefix="Q:"))
    assert QA.token_fingerprint(row, other) != before
    assert QA.token_fingerprint(row, dataclasses.replace(config, qa=QaConfig(max_bytes=7))) == before


def test_questions_and_answers_have_no_similarity_search_and_their_own_size_limit() -> None:
    assert QA.similarity() is None
    assert QA.max_bytes(TextOptions(qa=QaConfig(max_bytes=7))) == 7
