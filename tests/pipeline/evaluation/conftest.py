"""A long text and its tokenizer, for suites that hide facts in text."""

from __future__ import annotations

import pytest

from pipeline.evaluation.haystack import Haystack
from tests.support.text_tokenizers import text_tokenizer
from tests.support.texts import story
from tokenizer.text.tokenizer import TextTokenizer

TEXT = " ".join(story(n, 40) for n in range(8))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return text_tokenizer("own", [TEXT], tmp_path_factory.mktemp("t") / "t.model")


@pytest.fixture(scope="module")
def haystack(tokenizer: TextTokenizer) -> Haystack:
    return Haystack(TEXT, tokenizer)
