from __future__ import annotations

import pytest

from pipeline.language_models.budget import BudgetedModel, BudgetSpent
from pipeline.language_models.chat import ChatRequest, Reply, user_request


class Echo:
    name = "echo"

    def ask(self, request: ChatRequest) -> Reply:
        return Reply(text="x", finish_reason="stop", prompt_tokens=5, reply_tokens=2)

    def choose(self, request: ChatRequest, choices: tuple[str, ...]) -> tuple[float, ...]:
        return (0.0,) * len(choices)


def test_requests_and_tokens_are_counted_up_to_the_limit() -> None:
    model, request = BudgetedModel(Echo(), 2), user_request("q", max_tokens=1)
    model.ask(request)
    assert model.choose(request, ("A",)) == (0.0,)
    with pytest.raises(BudgetSpent, match="2 requests are sent"):
        model.ask(request)
    assert (model.name, model.requests, model.prompt_tokens, model.reply_tokens) == ("echo", 2, 5, 2)


def test_without_a_limit_all_are_sent() -> None:
    model = BudgetedModel(Echo(), None)
    assert all(model.ask(user_request("q", max_tokens=1)).text == "x" for _ in range(5))
