from __future__ import annotations

import pytest
from jinja2.runtime import Undefined
from jinja2.utils import Namespace

from tokenizer.text.chat.budget import MOST_CHARS, Budget, TemplateLimitError


@pytest.fixture
def budget() -> Budget:
    made = Budget()
    made.start(60)
    return made


def test_parts_that_a_list_shares_count_each_time(budget: Budget) -> None:
    word = "a" * 100
    pair = [word, word]
    assert budget.size(pair) == 2 * 16 + 200
    assert budget.size({"x": pair, "y": pair}) == 2 * 16 + 2 + 2 * budget.size(pair)
    assert budget.size([None, 1, Undefined()]) == 3 * 16 + 3


def test_values_whose_text_may_have_any_length_are_refused(budget: Budget) -> None:
    for value in (Namespace(x=1), iter([1]), [Namespace(x=1)], object()):
        with pytest.raises(TemplateLimitError, match="it writes a"):
            budget.size(value)


def test_a_value_and_the_sum_of_all_values_have_limits(budget: Budget) -> None:
    with pytest.raises(TemplateLimitError, match="a text of more than 16,777,216 characters"):
        budget.spend(MOST_CHARS + 1)
    for _ in range(16):
        budget.spend(MOST_CHARS)
    with pytest.raises(TemplateLimitError, match=r"more than 268,435,456 characters in all"):
        budget.spend(1)
    budget.start(60)
    budget.spend(MOST_CHARS)


def test_the_time_is_limited(budget: Budget) -> None:
    budget.start(-1)
    with pytest.raises(TemplateLimitError, match="it takes more than"):
        budget.tick()
