from __future__ import annotations

import argparse
import inspect
import io
from pathlib import Path

import pytest
import sentencepiece
from tokenizers import Tokenizer

from schemas.weight_files.sentencepiece_json import tokenizer_json_of
from tests.support.text_tokenizers import text_tokenizer
from tokenizer.text.tokenizer import TextTokenizer

SOURCE = inspect.getsource(argparse)[:60_000] + "a vision of <vision> </vision>"
TEXTS = [SOURCE, " two  words \n\n", "\ttab", "漢字 é 😀", "x\r\n  y", "a" * 400, "\u2581", "e\u0301"]


@pytest.mark.parametrize("kind", ["own", "llama"])
def test_the_converted_tokenizer_has_the_ids_of_sentencepiece(kind: str, tmp_path: Path) -> None:
    ours = text_tokenizer(kind, [SOURCE], tmp_path / "text.model")
    model = ours.files.main
    given = sentencepiece.SentencePieceProcessor(model_proto=model)
    converted = tokenizer_json_of(model)
    assert converted is not None
    library = Tokenizer.from_str(converted.decode())
    assert library.get_vocab_size() == len(given)
    for text in TEXTS:
        ids = library.encode(text, add_special_tokens=False).ids
        assert ids == given.encode(text)
        if text != "\u2581":
            assert library.decode(ids, skip_special_tokens=False) == text


def test_both_files_are_written_and_the_model_is_read_back(tmp_path: Path) -> None:
    ours = text_tokenizer("llama", [SOURCE], tmp_path / "text.model")
    ours.files.write(tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"tokenizer.model", "tokenizer.json", "tokenizer_config.json"}
    assert TextTokenizer.load(tmp_path / "out").files == ours.files
    as_json = TextTokenizer.load(tmp_path / "out" / "tokenizer.json")
    assert [as_json.encode(text).tolist() for text in TEXTS] == [ours.encode(text).tolist() for text in TEXTS]
    assert as_json.begin_vision == ours.begin_vision


def test_models_of_other_kinds_are_not_converted() -> None:
    lines = SOURCE.splitlines()
    identity = {"normalization_rule_name": "identity"}
    for options in (
        {"model_type": "unigram", "byte_fallback": True} | identity,
        {"model_type": "bpe", "byte_fallback": True},  # NFKC
        {"model_type": "bpe"} | identity,
        {"model_type": "bpe", "byte_fallback": True, "treat_whitespace_as_suffix": True} | identity,
    ):
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            vocab_size=1200,
            hard_vocab_limit=False,
            minloglevel=2,
            **options,
        )
        assert tokenizer_json_of(model.getvalue()) is None
    assert tokenizer_json_of(b"not a model") is None
