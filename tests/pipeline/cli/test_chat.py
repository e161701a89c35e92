"""The options of `longreel chat`; tests/pipeline/inference has the model behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

import longreel


def test_pictures_need_the_vqgan_of_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main(["chat", "--model", str(tmp_path), "--image", "a.png"]) == 2
    assert "give --vision" in capsys.readouterr().err


def test_a_folder_without_a_tokenizer_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main(["chat", "--model", str(tmp_path), "--ask", "Who?"]) == 1
    assert "text_tokenizer is missing" in capsys.readouterr().err


def test_a_folder_that_does_not_exist_and_an_empty_question_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert longreel.main(["chat", "--model", str(tmp_path / "run"), "--ask", "Who?"]) == 1
    assert f"{tmp_path / 'run'} is not a folder" in capsys.readouterr().err
    assert longreel.main(["chat", "--model", str(tmp_path), "--ask", " "]) == 2
    assert "the question is empty" in capsys.readouterr().err
