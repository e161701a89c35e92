"""What a RULER task provides."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Protocol

from pipeline.evaluation.haystack import Haystack

FILLER = "The path is long. The lamp is dim. The rain is cold. On we walk. Home we come."


@dataclass(frozen=True)
class Question:
    """A prompt and the answers that the reply has to contain."""

    prompt: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Material:
    """What tasks are made of: a text, None if the user gave none, and the length of the context in tokens."""

    haystack: Haystack | None
    length: int


class Task(Protocol):
    """A task. `make` gives the same question for the same random numbers, longer for a larger size."""

    @property
    def reply_tokens(self) -> int:
        """Tokens reserved for the reply."""
        ...

    @property
    def needs_haystack(self) -> bool:
        """Whether the context is text that the user gives."""
        ...

    def first_size(self, tokens: int) -> int:
        """Return a size that probably fits a number of tokens."""
        ...

    def make(self, size: int, rng: random.Random, material: Material) -> Question:
        """Return a question of a size, in units of the task's context."""
        ...
