"""A model whose requests are counted and limited."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from pipeline.language_models.chat import ChatModel, ChatRequest, Reply
from schemas.errors import JobError

Value = TypeVar("Value")


class BudgetSpent(JobError):
    """The maximum number of requests is sent."""


class BudgetedModel:
    """A `ChatModel` that sends at most `limit` requests, and counts them and their tokens."""

    def __init__(self, model: ChatModel, limit: int | None) -> None:
        self._model, self._limit, self._lock = model, limit, threading.Lock()
        self.requests = self.prompt_tokens = self.reply_tokens = 0

    @property
    def name(self) -> str:
        """The name of the model."""
        return self._model.name

    def usage(self) -> dict[str, int]:
        """Return the numbers of requests and of their tokens, for a summary."""
        return {
            "requests": self.requests,
            "prompt_tokens": self.prompt_tokens,
            "reply_tokens": self.reply_tokens,
        }

    def ask(self, request: ChatRequest) -> Reply:
        """Return the reply. Raises BudgetSpent, or as `ChatModel.ask`."""
        reply = self._counted(lambda: self._model.ask(request))
        with self._lock:
            self.prompt_tokens += reply.prompt_tokens or 0
            self.reply_tokens += reply.reply_tokens or 0
        return reply

    def choose(self, request: ChatRequest, choices: tuple[str, ...]) -> tuple[float, ...]:
        """Return the log-probabilities. Raises BudgetSpent, or as `ChatModel.choose`."""
        return self._counted(lambda: self._model.choose(request, choices))

    def _counted(self, ask: Callable[[], Value]) -> Value:
        with self._lock:
            if self._limit is not None and self.requests >= self._limit:
                raise BudgetSpent(f"{self._limit:,} requests are sent")
            self.requests += 1
        return ask()
