from __future__ import annotations

import pytest

from pipeline.evaluation.haystack import Haystack
from tests.support.text_tokenizers import text_tokenizer
from tests.support.texts import story
from tokenizer.text.tokenizer import TextTokenizer


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    """A small text tokenizer."""
    return text_tokenizer("own", [story(3, 60)], tmp_path_factory.mktemp("synthesis") / "t.model")


@pytest.fixture(scope="session")
def haystack(tokenizer: TextTokenizer) -> Haystack:
    """A text of some 10,000 tokens."""
    return Haystack(story(3, 400), tokenizer)
