"""SmolLM2 on llama.cpp's server writes questions about a book: `make real-weights`.

A model of this size fails at most of them, and writes no JSON unless a schema is sent. What it says must be sorted
without exception, and asked once.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.language_models.endpoint import Endpoint
from pipeline.qa_generation.config import QaGeneration
from pipeline.qa_generation.generate import PAIRS, NamedBook, generate
from pipeline.text.books import Book
from tests.support.published.llama_cpp import LlamaCpp
from tests.support.texts import story
from tokenizer.text.tokenizer import TextTokenizer

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("default")]

_CONFIG = QaGeneration(tasks=("fact", "sentence"), chunk_words=60, json_schema=True)


def test_every_reply_is_kept_with_its_place_or_rejected_with_a_reason(weights: Path, tmp_path: Path) -> None:
    model = LlamaCpp(weights, letter=int(TextTokenizer.load(weights).encode("a")[0]))
    text = story(1, 3)
    book = NamedBook.of(Path("book.txt"), Book(text, "text", "utf-8", {}), _CONFIG)
    endpoint = Endpoint(f"{model.address}/v1")
    summary = generate([book], endpoint, tmp_path, _CONFIG)
    print(summary)
    pairs = [json.loads(line) for line in (tmp_path / PAIRS).read_text().splitlines()]
    assert len(pairs) == summary["questions"] == 2 * len(book.chunks)
    assert len(pairs) == summary["kept"] + sum(summary["rejected"].values())
    kept = [pair for pair in pairs if pair["rejection"] is None]
    assert [text[slice(*pair["answer_span"])] for pair in kept] == [pair["answer"] for pair in kept]
    assert "malformed" not in summary["rejected"]
    again = generate([book], endpoint, tmp_path, _CONFIG)
    assert (again["requests"], again["kept"]) == (0, summary["kept"])
