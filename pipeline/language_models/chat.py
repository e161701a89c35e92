"""What is asked of a language model, and what it replies."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from schemas.errors import ConfigError, JobError
from schemas.fingerprint import sha256_file

Role = Literal["system", "user", "assistant"]


class RequestRefused(JobError):
    """The model cannot answer this request, however often it is asked: for example, it is too long."""


@dataclass(frozen=True)
class Media:
    """A picture or a video in a message: a file."""

    kind: Literal["image", "video"]
    path: Path


@dataclass(frozen=True)
class Message:
    """One message of a chat: text and media, in order."""

    role: Role
    parts: tuple[str | Media, ...]

    @property
    def text(self) -> str:
        """The text without the media."""
        return "".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True, kw_only=True)
class ChatRequest:
    """A question to a model, with how it is answered. Greedy by default."""

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    json_schema: str | None = None  # that the reply must satisfy, as JSON

    def __post_init__(self) -> None:
        if not self.messages:
            raise ConfigError("a request needs at least one message")
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens must be at least 1, got {self.max_tokens}")

    def digest(self, *more: str) -> str:
        """Return the SHA-256 of everything that the reply depends on; of media files, of their content."""
        messages = [[message.role, [_facts(part) for part in message.parts]] for message in self.messages]
        facts = [messages, self.max_tokens, self.temperature, self.seed, self.stop, self.json_schema, more]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a model answers; the counts of tokens are None if it does not tell them."""

    text: str
    finish_reason: str
    prompt_tokens: int | None = None
    reply_tokens: int | None = None


class ChatModel(Protocol):
    """A model that answers. Its methods may be called by several threads."""

    @property
    def name(self) -> str:
        """Identifies the model in results; two models of one name give the same replies."""
        ...

    def ask(self, request: ChatRequest) -> Reply:
        """Return the reply. Raises RequestRefused if this request has none, JobError if the model cannot be reached."""
        ...

    def choose(self, request: ChatRequest, choices: tuple[str, ...]) -> tuple[float, ...]:
        """Return the log-probability of each choice as the start of the reply; -inf for one that is not known.

        Raises as `ask`.
        """
        ...


def user_request(text: str, *, max_tokens: int, system: str | None = None) -> ChatRequest:
    """Return the request for a reply to one user message."""
    system_messages = () if system is None else (Message("system", (system,)),)
    return ChatRequest(messages=(*system_messages, Message("user", (text,))), max_tokens=max_tokens)


def _facts(part: str | Media) -> Any:
    return part if isinstance(part, str) else [part.kind, sha256_file(part.path)]
