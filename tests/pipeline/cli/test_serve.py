"""The options of `longreel serve`; tests/pipeline/serving has the server behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

import longreel


def test_a_folder_without_a_tokenizer_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main(["serve", str(tmp_path), "--port", "0"]) == 1
    assert "text_tokenizer is missing" in capsys.readouterr().err


def test_a_media_root_that_is_no_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main(["serve", str(tmp_path), "--media-root", str(tmp_path / "none")]) == 2
    assert "--media-root must be a folder" in capsys.readouterr().err
