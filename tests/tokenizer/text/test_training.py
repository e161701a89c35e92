from __future__ import annotations

import argparse
import inspect
import multiprocessing
import os
import subprocess
import sys
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

from schemas.deadline import time_limit
from schemas.errors import ConfigError, Interrupted, JobError
from tokenizer.text.tokenizer import TextTokenizer
from tokenizer.text.training import TextTrainConfig, train_text_tokenizer

SOURCE = inspect.getsource(argparse)  # 100 kB of real text that is part of Python
HAN = "".join(map(chr, range(0x4E00, 0x5000)))
TRICKY = ["<vision>", "</vision>", "\u2581", "  ", "\n", "\0", "<s>", "<0x41>", "e\u0301"]
TRICKY += ["👩‍👩‍👧", "\ufeff", "\U0010ffff"]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    path = tmp_path_factory.mktemp("models") / "own.model"
    return TextTokenizer.load(train_text_tokenizer([SOURCE], path, TextTrainConfig(vocab_size=2000)))


@pytest.mark.slow
def test_training_is_deterministic_for_any_order_of_texts_and_any_process(tmp_path: Path) -> None:
    texts = SOURCE.split("\n\n")
    config = TextTrainConfig(vocab_size=1000, max_train_bytes=40_000)
    first = train_text_tokenizer(texts, tmp_path / "a.model", config).read_bytes()
    second = train_text_tokenizer(reversed(texts), tmp_path / "b.model", config).read_bytes()
    other = train_text_tokenizer(texts, tmp_path / "c.model", TextTrainConfig(**vars(config) | {"seed": 1}))
    script = (
        "import argparse, inspect, pathlib, sys\n"
        "from tokenizer.text.training import TextTrainConfig, train_text_tokenizer\n"
        "texts = inspect.getsource(argparse).split('\\n\\n')\n"
        "config = TextTrainConfig(vocab_size=1000, max_train_bytes=40_000)\n"
        "train_text_tokenizer(texts, pathlib.Path(sys.argv[1]), config)\n"
    )
    environment = os.environ | {"PYTHONHASHSEED": "77"}
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "d.model")], check=True, env=environment)
    assert first == second == (tmp_path / "d.model").read_bytes()
    assert first != other.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.model", "b.model", "c.model", "d.model"]


@pytest.mark.slow
def test_a_corpus_of_one_long_line_is_used(own: TextTokenizer, tmp_path: Path) -> None:
    path = train_text_tokenizer([SOURCE.replace("\n", " ")], tmp_path / "one.model", TextTrainConfig(vocab_size=2000))
    one_line = TextTokenizer.load(path)
    assert len(one_line.encode(SOURCE)) < 1.1 * len(own.encode(SOURCE))


@pytest.mark.parametrize("corpus", [[], [""], ["\n\n"], ["a"], ["\0\u2585"], ["<vision>"], [HAN * 99]])
def test_a_tiny_corpus_yields_a_usable_model(
    tmp_path: Path, corpus: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    tokenizer = TextTokenizer.load(train_text_tokenizer(corpus, tmp_path / "tiny.model", TextTrainConfig()))
    text = "".join(TRICKY) + "".join(map(chr, range(128)))
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.begin_vision, tokenizer.end_vision) == (1, 2, (3,), (4,))
    assert 356 <= tokenizer.size < 3000
    assert len(tokenizer.encode("".join(map(chr, range(128))))) <= 128
    assert capfd.readouterr() == ("", "")


def test_digits_are_separate_pieces(own: TextTokenizer) -> None:
    assert len(own.encode("2026")) == 4


def test_the_error_for_too_many_distinct_characters_names_the_options(tmp_path: Path) -> None:
    corpus = ["".join(map(chr, range(0x4E00, 0x5600)))]
    with pytest.raises(ConfigError, match=r"vocab_size=512 and character_coverage=0\.9995"):
        train_text_tokenizer(corpus, tmp_path / "han.model", TextTrainConfig(vocab_size=512))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("field", "value"), [("vocab_size", 8), ("character_coverage", 2.0), ("max_train_bytes", 0)])
def test_the_error_for_an_invalid_option_names_it(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"{field}.*{value}"):
        TextTrainConfig(**{field: value})  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_request_to_stop_is_heard_while_sentencepiece_trains(tmp_path: Path) -> None:
    def check() -> None:
        if multiprocessing.active_children():
            raise Interrupted("stopped")

    with pytest.raises(Interrupted), time_limit(None, check=check):
        train_text_tokenizer([SOURCE], tmp_path / "x.model", TextTrainConfig())
    assert not (tmp_path / "x.model").exists()
    assert multiprocessing.active_children() == []


def test_a_process_that_ends_before_it_has_read_the_corpus_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource_tracker.ensure_running()  # is another process, which is started once
    monkeypatch.setattr("multiprocessing.spawn._python_exe", b"/bin/false")
    with pytest.raises(JobError, match="the process that trains the text tokenizer ended with exit code 1"):
        train_text_tokenizer([SOURCE * 10], tmp_path / "text.model", TextTrainConfig(vocab_size=512))
