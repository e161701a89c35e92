"""The text model of a workspace: trained on its texts, or copied from a given file."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.runtime.beam import Runner
from pipeline.runtime.workspace import Workspace
from pipeline.select.config import SelectConfig
from pipeline.select.job import select_items
from pipeline.survey.config import SurveyConfig
from pipeline.survey.job import survey_items
from pipeline.survey.worker import SurveyWorker
from pipeline.text.options import TextOptions
from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.text_tokenizer import read_texts, text_tokenizer_of
from schemas.errors import ConfigError
from schemas.rows import SurveyRow
from tests.support.stages import Models
from tokenizer.text.tokenizer import TextTokenizer


def test_the_text_tokenizer_is_trained_on_question_answer_documents_too(questions: Path, tmp_path: Path) -> None:
    for path in questions.iterdir():
        if path.suffix != ".json":
            path.unlink()
    workspace = Workspace.open(tmp_path / "out", units=2)
    survey_items([str(questions)], workspace, SurveyWorker(workspace=workspace, config=SurveyConfig()), Runner())
    select_items(workspace, SelectConfig(val_fraction=0), Runner())
    text = TextTokenizer.load(text_tokenizer_of(workspace, None, TokenizeConfig()))
    assert (
        len(text.encode("Thirteen, as on day")) < 8
    )  # 19 letters; a model without these documents has no pieces for them


def test_a_given_model_is_copied_and_used_by_later_commands(models: Models, tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out")
    path = text_tokenizer_of(workspace, models.text, TokenizeConfig())
    assert path == workspace.text_tokenizer
    assert (path / "tokenizer.model").read() == models.text.read_bytes()
    assert text_tokenizer_of(workspace, None, TokenizeConfig()) == path


def test_a_given_file_that_is_not_a_model_leaves_the_model_of_the_workspace(models: Models, tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "out")
    text_tokenizer_of(workspace, models.text, TokenizeConfig())
    (tmp_path / "bad.model").write_bytes(b"not a model")
    with pytest.raises(ConfigError, match=r"bad\.model"):
        text_tokenizer_of(workspace, tmp_path / "bad.model", TokenizeConfig())
    assert (workspace.text_tokenizer / "tokenizer.model").read() == models.text.read_bytes()


def test_an_item_that_cannot_be_read_is_skipped_with_a_message(books: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [SurveyRow(uri=str(books / name), kind="book") for name in ("0.txt", "gone.txt", "1.txt")]
    rows.append(SurveyRow(uri="a.mp4", kind="video"))  # a kind without texts
    texts = list(read_texts(rows, TextOptions()))
    assert texts == [(books / name).read_text() for name in ("0.txt", "1.txt")]
    assert f"skipped {books / 'gone.txt'}" in "".join(capsys.readouterr().err.split("\n"))
