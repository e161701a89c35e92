from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigError
from schemas.weight_files.gguf_vocabulary import vocabulary_metadata
from schemas.weight_files.sentencepiece_proto import Piece, PieceType, write_model
from tests.support.text_tokenizers import text_tokenizer
from tests.support.tokenizer_json import save, tokenizer_json, with_added
from tokenizer.text.tokenizer import TextTokenizer
from trainer.published.files.gguf_writer import write_gguf

CORPUS = ["Somebody walks in, looks around and says: what's happening here? <vision> </vision> é漢字。 12345\n"] * 5
TEXTS = [*CORPUS, "x'S 2026  \n\n\t  The RAIN/\n e\u0301 漢字。 <|im_end|> \r\n ", "a" * 300 + "/\n\n" + " 7" * 300]
ENDS = {"bos_id": 1, "eos_id": 2}


def metadata(main: bytes, **changes: Any) -> dict[str, Any]:
    return vocabulary_metadata(main, {}, **{"size": 1000, **ENDS, **changes})


def through_gguf(published: TextTokenizer, path: Path, *, extra: int) -> TextTokenizer:
    """Write the metadata of a tokenizer with `extra` ids behind it to a file, and load that."""
    files = published.files
    config = {**files.config, "chat_template": "{{ x }}"}
    values = vocabulary_metadata(files.main, config, size=published.size + extra, **ENDS)
    write_gguf(path, [], {"general.architecture": "llama", **values}, dtype="float32")
    return TextTokenizer.load(path)


@pytest.mark.parametrize("kind", ["gpt2", "smollm", "llama3", "qwen2", "o200k"])
def test_byte_pairs_come_back_from_the_file(kind: str, tmp_path: Path) -> None:
    trained = with_added(tokenizer_json(kind, CORPUS, size=500), ["[[x]]"], special=False)
    published = TextTokenizer.load(save(trained, tmp_path))
    found = through_gguf(published, tmp_path / "m.gguf", extra=10)
    assert [found.encode(text).tolist() for text in TEXTS] == [published.encode(text).tolist() for text in TEXTS]
    assert (found.size, found.surfaces, found.control) == (published.size, published.surfaces, published.control)
    assert found.files.config["chat_template"] == "{{ x }}"


@pytest.mark.parametrize("kind", ["own", "llama"])
def test_pieces_of_sentencepiece_come_back_from_the_file(kind: str, tmp_path: Path) -> None:
    published = text_tokenizer(kind, CORPUS, tmp_path / "tokenizer.model")
    found = through_gguf(published, tmp_path / "m.gguf", extra=10)
    assert [found.encode(text).tolist() for text in TEXTS] == [published.encode(text).tolist() for text in TEXTS]
    assert (found.size, found.surfaces, found.prefix) == (published.size, published.surfaces, published.prefix)


def test_ids_behind_the_tokenizer_are_unused() -> None:
    main = write_model([Piece("a", 0.0, PieceType.NORMAL)], names={}, adds_prefix=False)
    found = metadata(main, size=3, bos_id=0, eos_id=0)
    assert found["tokenizer.ggml.tokens"] == ["a", "[id 1]", "[id 2]"]
    assert found["tokenizer.ggml.token_type"] == [1, 5, 5]


def test_names_of_special_tokens_become_ids() -> None:
    main = write_model([Piece(text, 0.0, PieceType.NORMAL) for text in "abc"], names={}, adds_prefix=False)
    found = vocabulary_metadata(main, {"pad_token": "c", "unk_token": "z", "add_bos_token": True}, size=3, **ENDS)
    assert (found["tokenizer.ggml.padding_token_id"], found["tokenizer.ggml.add_bos_token"]) == (2, True)
    assert "tokenizer.ggml.unknown_token_id" not in found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pre_tokenizer": {"type": "Whitespace"}}, "no tokenizer that splits text as this"),
        ({"normalizer": {"type": "NFC"}}, "no tokenizer that splits text as this"),
        (
            {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [], "ignore_merges": True}},
            "no tokenizer that splits",
        ),
        ({"model": {"vocab": {}}}, "is malformed"),
        ({"model": 7}, "is malformed"),
        ({"model": {"vocab": {"a": 1001}, "merges": []}}, "has 1002 ids, and the model 1000"),
    ],
)
def test_tokenizers_that_llama_cpp_does_not_have_are_rejected(change: dict[str, Any], message: str) -> None:
    whole = {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False}, "model": {"vocab": {}, "merges": []}}
    with pytest.raises(ConfigError, match=message):
        metadata(json.dumps(whole | change).encode())


def test_a_model_that_is_not_of_sentencepiece_is_rejected() -> None:
    with pytest.raises(ConfigError, match=r"malformed|no SentencePiece tokenizer of this kind"):
        metadata(b"\x0a\xff")
