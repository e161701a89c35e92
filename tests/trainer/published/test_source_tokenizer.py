from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from schemas.errors import ConfigError
from tests.support.published.models import random_state, tiny, write_gguf, write_hf
from tests.support.tokenizer_json import save, tokenizer_json
from tokenizer.text.tokenizer import TextTokenizer
from trainer.published.exporting import ExportConfig, export_model
from trainer.published.import_config import ImportConfig
from trainer.published.importing import import_model
from trainer.published.source import open_source
from trainer.published.source_tokenizer import SourceTokenizer, read_source_tokenizer

IDS = 400
TOKENIZER = tokenizer_json(
    "gpt2", ["In the beginning <vision> was the word </vision>, and 123 words more."] * 9, size=IDS
)
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


def found(source: Path, **options: str) -> SourceTokenizer:
    return read_source_tokenizer(open_source(str(source)), **options)


def published(folder: Path) -> Path:
    """Write a model with a tokenizer and a chat template."""
    source = write_hf(folder, tiny(), random_state(tiny(), text_size=IDS), text_size=IDS)
    return save(TOKENIZER, source, config={"bos_token": "<|endoftext|>", "chat_template": TEMPLATE})


def exported_gguf(tmp_path: Path) -> Path:
    """Export a model with its tokenizer to a GGUF file, and remove the files next to it."""
    import_model(str(published(tmp_path / "hf")), ImportConfig(out=tmp_path / "run"))
    export_model(tmp_path / "run", ExportConfig(out=tmp_path / "gguf", format="gguf"))
    for path in (tmp_path / "gguf").iterdir():
        if path.name != "model.gguf":
            path.unlink()
    return tmp_path / "gguf" / "model.gguf"


def test_the_files_of_a_folder_are_kept_byte_by_byte(tmp_path: Path) -> None:
    source = published(tmp_path / "hf")
    tokenizer = found(source)
    assert tokenizer.files == {name: (source / name).read_bytes() for name in tokenizer.files}
    assert tokenizer.files.keys() == {"tokenizer.json", "tokenizer_config.json"}
    assert tokenizer.sha256 == TextTokenizer.load(source).sha256


def test_the_tokenizer_of_a_gguf_file_is_imported_with_its_chat_template(tmp_path: Path) -> None:
    path = exported_gguf(tmp_path)
    result = import_model(str(path), ImportConfig(out=tmp_path / "again"))
    theirs, ours = TextTokenizer.load(path), TextTokenizer.load(tmp_path / "again" / "text_tokenizer")
    assert ours.files == theirs.files
    assert ours.files.config["chat_template"] == TEMPLATE
    assert found(path).sha256 == ours.sha256
    assert not any("no text tokenizer" in line for line in result.account)


def test_of_two_tokenizers_the_one_that_is_wanted_is_returned(tmp_path: Path) -> None:
    path = exported_gguf(tmp_path)
    own = found(path).sha256
    save(TOKENIZER, path.parent)
    neighbor = hashlib.sha256((path.parent / "tokenizer.json").read_bytes()).hexdigest()
    assert own != neighbor
    assert found(path).sha256 == found(path, wanted="0" * 64).sha256 == own
    assert found(path, wanted=neighbor).sha256 == neighbor


def test_the_files_next_to_a_gguf_file_replace_a_tokenizer_that_it_does_not_have(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", tiny(), random_state(tiny(), text_size=IDS))
    assert found(path).files == {}
    assert f"{path} has no valid tokenizer: it has no tokenizer.ggml.model" in found(path).missing
    save(TOKENIZER, tmp_path)
    assert found(path).sha256 == TextTokenizer.load(tmp_path / "tokenizer.json").sha256


def test_an_import_without_a_tokenizer_says_so(tmp_path: Path) -> None:
    source = write_hf(tmp_path / "hf", tiny(), random_state(tiny()))
    *_, last = import_model(str(source), ImportConfig(out=tmp_path / "run")).account
    assert last.startswith("no text tokenizer, so `generate` and `chat` cannot use the model: ")
    assert f"{source} has no tokenizer.model or tokenizer.json" in last


def test_a_malformed_tokenizer_of_a_folder_is_an_error(tmp_path: Path) -> None:
    source = published(tmp_path / "hf")
    (source / "tokenizer_config.json").write_text(json.dumps({"bos_token": 7}))
    with pytest.raises(ConfigError, match="bos_token must be a string"):
        found(source)
