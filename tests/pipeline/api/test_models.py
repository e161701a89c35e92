"""A model answers questions and continues texts."""

from __future__ import annotations

from pathlib import Path

import pytest

import longreel
from pipeline.api.models import Model
from pipeline.inference.local_model import LocalModel
from pipeline.language_models.chat import RequestRefused
from schemas.errors import ConfigError
from tests.support.serving import tiny_model


@pytest.mark.slow
def test_a_model_answers_and_continues_the_same_text_each_time(tmp_path: Path) -> None:
    tiny = tiny_model(tmp_path)
    model = Model(LocalModel(tiny.engine, tiny.prompts, name="tiny"))
    answers = [ask("It was a", max_tokens=4) for ask in (model.ask, model.ask, model.complete, model.complete)]
    assert answers[0] == answers[1]
    assert answers[2] == answers[3]
    with pytest.raises(RequestRefused, match="contexts of"):
        model.complete("It was a", max_tokens=10_000)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        longreel.load_model(tmp_path)
