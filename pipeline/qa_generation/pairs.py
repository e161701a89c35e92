"""A question with its answer, and where both come from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pipeline.qa_generation.filters import Rejection
from pipeline.qa_generation.prompts import Task


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One pair about one chunk; places are [start, end) in characters of the clean text of the book."""

    book: str  # SHA-256 of the clean text
    chunk: int
    chunk_span: tuple[int, int]
    task: Task
    model: str
    prompt_sha256: str  # of everything that the reply depends on
    question: str
    answer: str
    answer_span: tuple[int, int] | None
    rejection: Rejection | None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping."""
        return asdict(self)

    def provenance(self) -> dict[str, Any]:
        """Return where the pair comes from, without its text."""
        values = self.to_dict()
        return {name: values[name] for name in ("task", "model", "prompt_sha256", "chunk_span", "answer_span")}
