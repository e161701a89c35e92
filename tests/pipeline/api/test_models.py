"""A model answers questions and continues texts."""

from __future__ import annotations

from pathlib import Path

import pytest

import longreel
from pipeline.api.models import Model
from pipeline.inference.local_model import LocalModel
from pipeline.language_models.chat import RequestRefused
from schemas.errors import ConfigError, JobError
from tests.support.published.models import random_state, tiny, write_hf
from tests.support.serving import tiny_model
from tests.support.tokenizer_json import save, tokenizer_json


@pytest.mark.slow
def test_a_model_answers_and_continues_the_same_text_each_time(tmp_path: Path) -> None:
    made = tiny_model(tmp_path)
    model = Model(LocalModel(made.engine, made.prompts, name="tiny"))
    answers = [ask("It was a", max_tokens=4) for ask in (model.ask, model.ask, model.complete, model.complete)]
    assert answers[0] == answers[1]
    assert answers[2] == answers[3]
    with pytest.raises(RequestRefused, match="contexts of"):
        model.complete("It was a", max_tokens=10_000)


@pytest.mark.slow
def test_a_published_model_is_imported_loaded_and_asked(tmp_path: Path) -> None:
    source = write_hf(tmp_path / "hf", tiny(), random_state(tiny(), text_size=400), text_size=400)
    template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    text = ["In the beginning <vision> was the word </vision>, and 123 words more."] * 9
    save(tokenizer_json("gpt2", text, size=400), source, config={"chat_template": template})
    longreel.run("import-model", source, "--out", tmp_path / "run")
    model = longreel.load_model(tmp_path / "run")
    assert model.ask("In the", max_tokens=4) == model.ask("In the", max_tokens=4)
    assert model.complete("In the beginning", max_tokens=4, temperature=1.0, seed=3)
    with pytest.raises(JobError, match="vision"):
        model.ask("What is it?", images=(tmp_path / "a.png",))
    with pytest.raises(TypeError, match="nothing"):
        longreel.load_model(tmp_path / "run", nothing=1)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        longreel.load_model(tmp_path)
