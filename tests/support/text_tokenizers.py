"""SentencePiece models for tests."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import sentencepiece

from tokenizer.text.tokenizer import TextTokenizer
from tokenizer.text.training import TextTrainConfig, train_text_tokenizer


def text_tokenizer(kind: str, corpus: Iterable[str], path: Path) -> TextTokenizer:
    """Train a small tokenizer of kind "own", with Longreel's options, or "llama".

    The latter has SentencePiece's defaults as the LLaMA models do: it adds a space before the text, and does not know
    Longreel's special tokens.
    """
    if kind == "own":
        return TextTokenizer.load(train_text_tokenizer(corpus, path, TextTrainConfig(vocab_size=512)))
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for text in corpus for line in text.replace("\f", "\n").splitlines()),
        model_writer=model,
        model_type="bpe",
        vocab_size=400,
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())
    return TextTokenizer.load(path)
