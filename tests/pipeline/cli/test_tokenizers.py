"""The commands that train and convert tokenizers."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import longreel
from pipeline.cli.tokenizers import TrainTextTokenizer
from pipeline.tokenizer_jobs.train import TrainTokenizer
from schemas.errors import ConfigError
from tests.support.texts import story
from tokenizer.text.tokenizer import TextTokenizer
from tokenizer.weights_file import weights_file

pytestmark = pytest.mark.slow


def test_a_text_tokenizer_is_trained_and_its_options_are_stored_next_to_it(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(story(1, 20))
    out = tmp_path / "text.model"
    assert longreel.main(["train-text-tokenizer", str(tmp_path), "--out", str(out), "--vocab-size", "600"]) == 0
    assert TextTokenizer.load(out).size == 600
    stored = tmp_path / "text.model.toml"
    assert tomllib.loads(stored.read_text())["vocab-size"] == 600
    again = tmp_path / "again.model"
    assert longreel.main(["train-text-tokenizer", "--config", str(stored), "--out", str(again)]) == 0
    assert again.read_bytes() == out.read_bytes()


def test_published_weights_are_converted_under_another_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mine.safetensors"
    command = ["import-tokenizer", str(weights_file("small-128")), "--out", str(out), "--name", "mine"]
    assert longreel.main(command) == 0
    printed = "".join(capsys.readouterr().err.split())
    assert "mine:128px" in printed
    assert out.is_file()


def test_weights_are_not_written_over_the_file_that_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.safetensors"
    file.touch()
    assert longreel.main(["import-tokenizer", str(file), "--out", str(file)]) == 1
    assert longreel.main(["import-tokenizer", str(file), "--out", str(tmp_path / "a.bin")]) == 1
    printed = capsys.readouterr().err
    assert "--out is the input file" in printed
    assert "must end in .safetensors" in printed


def test_a_vqgan_needs_images_or_videos_and_a_text_tokenizer_needs_texts(tmp_path: Path) -> None:
    (tmp_path / "a.qa.json").write_text('{"turns": [{"role": "answer", "text": "Thirteen."}]}')
    TrainTextTokenizer(inputs=(str(tmp_path),), out=tmp_path / "text.model")(())
    assert TextTokenizer.load(tmp_path / "text.model").is_lossless
    with pytest.raises(ConfigError, match="no video or image to train on"):
        TrainTokenizer(inputs=(str(tmp_path),), out=tmp_path / "vqgan.safetensors")(())
    (tmp_path / "a.qa.json").rename(tmp_path / "a.png")
    with pytest.raises(ConfigError, match="no book and no question-answer document"):
        TrainTextTokenizer(inputs=(str(tmp_path),), out=tmp_path / "text.model")(())
