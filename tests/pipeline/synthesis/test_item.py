from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.synthesis.item import SynthConfig, SyntheticDocument, token_count, write_documents
from pipeline.text.qa import QaConfig, Turn, lay_out
from pipeline.tokenize.interleave import text_document
from schemas.errors import ConfigError
from schemas.vocab import Vocabulary
from tests.support.token_stores import VOCABULARY
from tokenizer.text.tokenizer import TextTokenizer

TURNS = (Turn("context", "Call me Ishmael."), Turn("question", "Who?"), Turn("answer", "Ishmael."))


def test_tokens_are_counted_as_tokenization_makes_them(tokenizer: TextTokenizer) -> None:
    parts = lay_out(TURNS, QaConfig())
    ids = tokenizer.encode_parts([text for text, _ in parts])
    vocabulary: Vocabulary = VOCABULARY
    document = text_document(zip(ids, [weight for _, weight in parts], strict=True), vocabulary=vocabulary)
    assert token_count(TURNS, tokenizer) == len(document.tokens)


def test_a_row_says_how_its_document_was_made(tmp_path: Path) -> None:
    config = SynthConfig(length=64, count=2, seed=7)
    documents = [SyntheticDocument(TURNS, {"depths": [0.5]}), SyntheticDocument(TURNS[1:], {"depths": []})]
    assert write_documents("needle", documents, tmp_path, config, columns={"source": "made"}) == 2
    rows = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert [row["source"] for row in rows] == ["made", "made"]
    made = {"task": "needle", "length": 64, "seed": 7, "number": 0, "depths": [0.5]}
    assert rows[0]["metadata"] == made
    assert Path(rows[0]["uri"]).is_file()


@pytest.mark.parametrize("wrong", [{"length": 0}, {"length": (1 << 24) + 1}, {"length": 64, "count": 0}])
def test_wrong_numbers_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="must be at least 1"):
        SynthConfig(**wrong)
