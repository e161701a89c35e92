from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFWriter

from schemas.errors import ConfigError
from schemas.weight_files.sentencepiece_proto import read_pieces
from tests.support.text_tokenizers import text_tokenizer
from tests.support.tokenizer_json import save, tokenizer_json
from tokenizer.text.tokenizer import TextTokenizer

CORPUS = ["Somebody walks in, looks around and says: what's happening here? <vision> </vision> é漢字。 12345\n"] * 5
TEXTS = [*CORPUS, "x'S 2026  \n\n\t  The RAIN/\n e\u0301 漢字。 <|im_end|> \r\n ", "a" * 300 + "/\n\n" + " 7" * 300]
PRE = {"gpt2": "gpt-2", "smollm": "smollm", "llama3": "llama-bpe", "qwen2": "qwen2", "o200k": "gpt-4o"}


def write_gguf(path: Path, values: dict[str, Any]) -> Path:
    writer = GGUFWriter(path, "llama")
    for key, value in values.items():
        add = {str: writer.add_string, bool: writer.add_bool, int: writer.add_uint32, list: writer.add_array}
        add[type(value)](key if key.startswith("tokenizer.chat") else f"tokenizer.ggml.{key}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def metadata(folder: Path, pre: str) -> dict[str, Any]:
    """Return the metadata that llama.cpp's converter writes for a tokenizer.json; three rows pad the table."""
    values = json.loads((folder / "tokenizer.json").read_text())
    tokens = sorted(values["model"]["vocab"], key=values["model"]["vocab"].__getitem__)
    special = {token["id"] for token in values["added_tokens"]}
    types = [3 if i in special else 1 for i in range(len(tokens))]
    ids = {"bos_token_id": 1, "eos_token_id": 2, "add_bos_token": pre == "llama-bpe"}
    merges = [" ".join(pair) for pair in values["model"]["merges"]]
    padding = [f"[PAD{i}]" for i in range(3)]
    vocab = {"tokens": tokens + padding, "token_type": [*types, 5, 5, 5], "merges": merges}
    return {"model": "gpt2", "pre": pre} | vocab | ids


@pytest.mark.parametrize("kind", PRE)
def test_the_converted_tokenizer_equals_the_published_one(kind: str, tmp_path: Path) -> None:
    published = TextTokenizer.load(save(tokenizer_json(kind, CORPUS, size=500), tmp_path))
    path = write_gguf(tmp_path / "model.gguf", metadata(tmp_path, PRE[kind]) | {"tokenizer.chat_template": "{{ x }}"})
    converted = TextTokenizer.load(path)
    for text in TEXTS:
        assert converted.encode(text).tolist() == published.encode(text).tolist()
    assert (converted.size, converted.surfaces) == (published.size, published.surfaces)
    assert (converted.bos_id, converted.eos_id, converted.control) == (1, 2, published.control)
    assert converted.files.config["chat_template"] == "{{ x }}"


def test_pieces_of_sentencepiece_become_a_model_file(tmp_path: Path) -> None:
    published = text_tokenizer("llama", CORPUS, tmp_path / "tokenizer.model")
    pieces = read_pieces((tmp_path / "tokenizer.model").read_bytes())
    values = {"model": "llama", "bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0}
    values |= {"tokens": [p.text for p in pieces], "scores": [p.score for p in pieces]}
    path = write_gguf(tmp_path / "model.gguf", values | {"token_type": [int(p.type) for p in pieces]})
    converted = TextTokenizer.load(path)
    assert [converted.encode(t).tolist() for t in TEXTS] == [published.encode(t).tolist() for t in TEXTS]
    assert (converted.bos_id, converted.eos_id, converted.prefix) == (1, 2, " ")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "bert"}, "of the kind 'bert'"),
        ({"pre": "unheard-of"}, "has the pre-tokenizer 'unheard-of'"),
        ({"merges": ["a"]}, "not a valid"),
        ({"token_type": [1]}, "no valid tokenizer"),
        ({"tokens": ["a"], "token_type": [1]}, "not supported"),
    ],
)
def test_metadata_of_another_kind_is_refused(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    save(tokenizer_json("gpt2", CORPUS, size=400), tmp_path)
    path = write_gguf(tmp_path / "model.gguf", metadata(tmp_path, "gpt-2") | change)
    with pytest.raises(ConfigError, match=reason):
        TextTokenizer.load(path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    save(tokenizer_json("gpt2", CORPUS, size=400), tmp_path)
    data = write_gguf(tmp_path / "model.gguf", metadata(tmp_path, "gpt-2")).read_bytes()
    lie = data[:16] + (1 << 60).to_bytes(8, "little") + data[24:]
    for damaged in (data[:8], data[: len(data) // 2], lie, b"GGUF" + b"\xff" * 64, b"GGUF"):
        (tmp_path / "bad.gguf").write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"bad\.gguf"):
            TextTokenizer.load(tmp_path / "bad.gguf")
