from __future__ import annotations

import argparse
import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.weight_files.sentencepiece_proto import Piece, PieceType, write_model
from schemas.weight_files.tokenizer_files import MODEL, TokenizerFiles
from tokenizer.text import word_cache
from tokenizer.text.sentencepiece import SentencePieceModel
from tokenizer.text.training import TextTrainConfig, train_text_tokenizer
from tokenizer.text.word_cache import WordCache, pieces_are_within_words

SOURCE = inspect.getsource(argparse)
TRICKY = [
    "\0",
    "\n",
    "\n\n",
    " ",
    "  ",
    "   ",
    "\r\n",
    "\t",
    "the",
    "word",
    "<vision>",
    "漢字",
    "é",
    "\u2585",
    "x" * 40,
]
texts = st.lists(st.sampled_from(TRICKY) | st.text(max_size=6), max_size=30).map("".join)


def with_pieces(*texts: str) -> SentencePieceModel:
    """Return a model with the pieces, the bytes, and the characters of the pieces."""
    characters = sorted({c for text in texts for c in text} | {"\u2581"})
    pieces = [Piece("<unk>", 0.0, PieceType.UNKNOWN), Piece("<s>", 0.0, PieceType.CONTROL)]
    pieces += [Piece(f"<0x{byte:02X}>", 0.0, PieceType.BYTE) for byte in range(256)]
    pieces += [Piece(text, -float(i), PieceType.NORMAL) for i, text in enumerate([*texts, *characters])]
    data = write_model(pieces, names={"bos": "<s>", "unk": "<unk>"}, adds_prefix=False)
    return SentencePieceModel(TokenizerFiles(main_name=MODEL, main=data, config={}), name="test")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SentencePieceModel:
    path = tmp_path_factory.mktemp("model") / "own.model"
    train_text_tokenizer([SOURCE], path, TextTrainConfig(vocab_size=2000))
    return SentencePieceModel(TokenizerFiles(main_name=MODEL, main=path.read_bytes(), config={}), name="own")


def assert_equal_to_sentencepiece(model: SentencePieceModel, texts: list[str]) -> None:
    for found, expected in zip(model.encode(texts), model._encode(texts), strict=True):
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
@given(several=st.lists(texts, max_size=3))
@settings(deadline=None, max_examples=100)
def test_ids_of_words_are_those_of_the_text(model: SentencePieceModel, several: list[str]) -> None:
    assert model._words is not None
    assert_equal_to_sentencepiece(model, several)


def test_words_that_were_forgotten_are_encoded_again(
    model: SentencePieceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_cache, "_MOST_CHARS", 50)
    words = WordCache(model._encode)
    for start in range(0, 4000, 1000):
        text = SOURCE[start : start + 1000]
        np.testing.assert_array_equal(words.encode([text])[0], model._encode([text])[0])
    assert words._chars < 1100


@pytest.mark.parametrize("piece", ["a b", "a ", "x\n", "\nx", " \n", "\n ", "a\0", "\0\n"])
def test_a_piece_across_words_is_found(piece: str) -> None:
    assert not pieces_are_within_words([" the", piece])


def test_pieces_of_spaces_newlines_and_words_are_within_words() -> None:
    assert pieces_are_within_words(["the", " the", "   ", "\n", "\n\n", "  x", "\0", "\t", "a.b"])


def test_a_model_with_a_piece_across_words_encodes_texts_as_a_whole() -> None:
    for crossing in ("a\u2581b", "b\u2581"):
        model = with_pieces("ab", crossing)
        assert model._words is None
        assert_equal_to_sentencepiece(model, ["a b ab b  a b", "b b"])


def test_pieces_with_runs_of_newlines_and_equal_scores_are_divided_like_the_text() -> None:
    model = with_pieces("\n\n", "\n\n\n\n", "\u2581\u2581", "ab", "ba", "\u2581ab")
    assert model._words is not None
    assert_equal_to_sentencepiece(model, ["\n\n\n\n\n abab  baba   ab\n\n", "bab ab\0ab \0\n"])
