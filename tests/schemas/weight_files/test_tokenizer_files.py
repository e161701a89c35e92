from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from schemas.errors import ConfigError
from schemas.weight_files.tokenizer_files import read_tokenizer_files
from tests.support.text_tokenizers import text_tokenizer
from tests.support.tokenizer_json import save, tokenizer_json, with_added
from tokenizer.text.tokenizer import TextTokenizer

TEXT = ["Somebody walks in, looks around and says: what happened here? a <vision> of </vision>"] * 9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the two files of a published model, which have the same ids."""
    text_tokenizer("llama", TEXT, tmp_path / "tokenizer.model")
    return save(tokenizer_json("llama2", TEXT, size=400), tmp_path)


def test_a_model_is_preferred_unless_tokens_were_added_to_the_json(folder: Path) -> None:
    assert read_tokenizer_files(folder).main_name == "tokenizer.model"
    save(with_added(tokenizer_json("llama2", TEXT, size=400), ["<|tool|>"] * 1, special=True), folder)
    values = json.loads((folder / "tokenizer.json").read_text())
    values["added_tokens"][-1]["id"] = 900
    (folder / "tokenizer.json").write_text(json.dumps(values))
    assert read_tokenizer_files(folder).main_name == "tokenizer.json"


def test_a_model_that_is_not_of_sentencepiece_is_passed_over(folder: Path) -> None:
    (folder / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")  # tiktoken
    assert read_tokenizer_files(folder).main_name == "tokenizer.json"


def test_the_configuration_and_the_template_are_kept(folder: Path) -> None:
    config = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "auto_map": {"X": "code.py"}, "chat_template": "a"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    found = read_tokenizer_files(folder).config
    assert found == {"bos_token": "<s>", "eos_token": "</s>", "chat_template": "a"}
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert read_tokenizer_files(folder / "tokenizer.json").config["chat_template"] == "{{ messages }}"


def test_hashes_are_those_of_the_written_files(folder: Path, tmp_path: Path) -> None:
    files = TextTokenizer.load(folder).files
    files.write(tmp_path / "copy")
    written = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "copy").iterdir()}
    assert files.hashes() == written
    assert files.hashes()["tokenizer.model"] == files.sha256


def test_a_folder_without_a_tokenizer_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no text tokenizer"):
        read_tokenizer_files(tmp_path)
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"merges\.txt are the older form"):
        read_tokenizer_files(tmp_path)


@pytest.mark.parametrize("config", ["[]", "{", '{"bos_token": 7}', '{"eos_token": {"content": []}}', "[" * 99_999])
def test_a_malformed_configuration_is_an_error(folder: Path, config: str) -> None:
    (folder / "tokenizer_config.json").write_text(config)
    with pytest.raises(ConfigError, match=r"tokenizer_config\.json"):
        read_tokenizer_files(folder)


def test_a_token_that_the_configuration_names_must_exist(folder: Path) -> None:
    (folder / "tokenizer.model").unlink()
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<none>"}')
    with pytest.raises(ConfigError, match="has no token '<none>'"):
        TextTokenizer.load(folder)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "tokenizer.json").open("wb") as f:
        f.write(b"{")
        os.truncate(f.fileno(), 1 << 30)
    with pytest.raises(ConfigError, match="too many for a text tokenizer"):
        read_tokenizer_files(tmp_path / "tokenizer.json")
