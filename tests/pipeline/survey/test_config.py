"""Options of the survey."""

from __future__ import annotations

from pathlib import Path

import pytest
import tyro

from pipeline.survey.config import BookSurveyConfig, SurveyConfig
from schemas.errors import ConfigError


@pytest.mark.parametrize("wrong", [{"thumbnails": 0}, {"decode_below_s": -1}, {"max_bytes": 0}])
def test_invalid_options_are_errors_that_name_them(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SurveyConfig(**wrong)  # type: ignore[arg-type]


def test_paths_of_evaluation_sets_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = tyro.cli(BookSurveyConfig, args=["--decontaminate", "eval.jsonl", "gs://bucket/eval.txt"])
    assert list(map(str, command.decontaminate)) == [str(tmp_path / "eval.jsonl"), "gs://bucket/eval.txt"]
