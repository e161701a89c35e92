"""Options of the generation of questions and answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from pipeline.qa_generation.prompts import TASKS, Task
from schemas.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class QaGeneration:
    """How questions are asked for, checked, and joined to documents."""

    tasks: tuple[Task, ...] = TASKS
    """What is asked about each chunk: fact (a few words), name, or sentence (a whole sentence)."""
    chunk_words: int = 750
    """Minimum length of a chunk in words; LWM uses chunks of 1,000 tokens, which are about as long."""
    document_words: int = 20_000
    """Maximum length of a document in words. A document must fit into the context that it is packed for, or it is
    rejected then; 20,000 words of English are about 30,000 tokens with questions."""
    depths: tuple[float, ...] = (1.0,)
    """Where in a document questions are asked, as fractions of its chunks, the last at 1, the end. A question is asked
    at the first place behind its chunk."""
    without_chunk: bool = True
    """Ask each question once more without the chunk, and reject the pair if the answer is right all the same."""
    temperature: float = 0.7
    """Temperature of questions. Answers without the chunk are greedy."""
    json_schema: bool = False
    """Send the form of the reply as a JSON schema, so that the server lets the model write nothing else. vLLM,
    llama.cpp and `longreel serve` do so; a server that does not know it may refuse the requests. For servers only."""
    seed: int = 0
    """Random seed of the replies, for servers that have one."""
    max_requests: int | None = None
    """Maximum number of requests to send in this run; replies that are kept cost none. Documents are made of what is
    answered by then, and the next run continues. Default: no maximum."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.tasks) - set(get_args(Task)))
        if unknown or not self.tasks:
            raise ConfigError(f"tasks must be some of {', '.join(TASKS)}, got {', '.join(unknown) or 'none'}")
        if self.chunk_words < 1 or self.document_words < self.chunk_words:
            raise ConfigError(
                f"chunk_words must be at least 1 and at most document_words, got {self.chunk_words} and "
                f"{self.document_words}"
            )
        if list(self.depths) != sorted(set(self.depths)) or not self.depths or not 0 < self.depths[0] <= 1:
            raise ConfigError(f"depths must ascend within 0..1, got {', '.join(map(str, self.depths)) or 'none'}")
        if self.depths[-1] != 1:
            raise ConfigError(f"the last of depths must be 1, or questions would be lost, got {self.depths[-1]}")
        if not self.temperature >= 0:
            raise ConfigError(f"temperature must not be negative, got {self.temperature}")
        if self.max_requests is not None and self.max_requests < 0:
            raise ConfigError(f"max_requests must not be negative, got {self.max_requests}")
