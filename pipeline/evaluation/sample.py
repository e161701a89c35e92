"""One question of a suite with its answer, and what a model made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.language_models.chat import ChatRequest


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A question. `id` is unique in a run of a suite, and the same in every run with the same options."""

    id: str
    task: str
    request: ChatRequest
    references: tuple[str, ...]
    scorer: str
    length: int | None = None  # context length in tokens for which the question was made
    depth: float | None = None  # place of the asked text in the context, from 0 to 1
    choices: tuple[str, ...] = ()  # multiple choice: the labels of the answers
    facts: Mapping[str, Any] | None = None  # what a scorer needs besides the references


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a model replied to a sample, and the score from 0 to 1."""

    id: str
    task: str
    score: float
    reply: str
    references: tuple[str, ...]
    length: int | None = None
    depth: float | None = None
    prompt_tokens: int | None = None
    finish_reason: str | None = None
    refused: str | None = None  # why there is no reply; the score is 0

    def to_dict(self) -> dict[str, Any]:
        """Return the values of a JSON line."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Result:
        """Return the result of a JSON line."""
        return cls(**{**values, "references": tuple(values["references"])})
