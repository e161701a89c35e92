"""Prompts are made as long as their budget allows."""

from __future__ import annotations

import pytest

from pipeline.evaluation.fitting import fit
from pipeline.evaluation.haystack import Budget
from schemas.errors import ConfigError
from tests.support.text_tokenizers import text_tokenizer
from tests.support.texts import story
from tokenizer.text.tokenizer import TextTokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return text_tokenizer("own", [story(1, 60)], tmp_path_factory.mktemp("t") / "t.model")


@pytest.mark.parametrize("first", [1, 10, 300, 100_000])
@pytest.mark.parametrize("length", [100, 1000, 5000])
def test_the_largest_size_is_found_from_any_first_one(tokenizer: TextTokenizer, first: int, length: int) -> None:
    budget = Budget(tokenizer, length, 10, 10)
    made = fit(lambda size: "What? " + "the old clock " * size, lambda text: text, budget, first=first)
    count = budget.count(made)
    assert 0.95 * budget.prompt_tokens <= count <= budget.prompt_tokens


def test_a_budget_that_nothing_fits_raises(tokenizer: TextTokenizer) -> None:
    with pytest.raises(ConfigError, match="a length of 30 is too short"):
        fit(lambda size: "the old clock " * (size + 50), lambda text: text, Budget(tokenizer, 30, 5, 5), first=3)
