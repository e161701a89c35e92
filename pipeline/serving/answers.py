"""The JSON of replies in OpenAI's interface, whole and in pieces, for chats and for texts."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.serving.reply_text import Piece, Token
from tokenizer.text.tokenizer import TextTokenizer
from trainer.inference.requests import FinishReason

_LEAST_LOGPROB = -9999.0  # JSON has no infinity


@dataclass(frozen=True)
class Usage:
    """The counts of tokens of a request."""

    prompt: int
    reply: int

    def to_json(self) -> dict[str, Any]:
        """Return the object `usage`."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.reply,
            "total_tokens": self.prompt + self.reply,
        }


class TokenNames:
    """Names and bytes of ids in log-probabilities."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._surfaces = tokenizer.surfaces
        self._special = {token: name for name, token in tokenizer.control.items()}

    def name(self, token: int) -> str:
        """Return the text of an id; of a special one its name."""
        if token >= len(self._surfaces):
            return f"<{token}>"  # the code of a picture
        return self._surfaces[token].decode("utf-8", "replace") or self._special.get(token, "")

    def bytes(self, token: int) -> list[int] | None:
        """Return the bytes of an id, or None if it is no text."""
        return list(self._surfaces[token]) if token < len(self._surfaces) and self._surfaces[token] else None


@dataclass(frozen=True)
class _Head:
    model: str
    names: TokenNames
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def object(self, prefix: str, kind: str, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """Return the object around `choices`."""
        head = {"id": f"{prefix}-{self.id}", "object": kind, "created": self.created, "model": self.model}
        return {**head, "choices": choices, **more}


class Answer(Protocol):
    """The form of a reply."""

    def whole(self, piece: Piece, finished: FinishReason, usage: Usage) -> dict[str, Any]:
        """Return the object of a whole reply."""
        ...

    def first(self) -> dict[str, Any] | None:
        """Return the object before the pieces, if there is one."""
        ...

    def chunk(self, piece: Piece, finished: FinishReason | None) -> dict[str, Any]:
        """Return the object of a piece."""
        ...

    def usage(self, usage: Usage) -> dict[str, Any]:
        """Return the object after the pieces, with the counts of tokens."""
        ...


class ChatAnswer:
    """The reply in a chat."""

    def __init__(self, model: str, names: TokenNames, *, logprobs: bool) -> None:
        self._head, self._names, self._logprobs = _Head(model, names), names, logprobs

    def whole(self, piece: Piece, finished: FinishReason, usage: Usage) -> dict[str, Any]:
        """See `Answer`."""
        message = {"role": "assistant", "content": piece.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": self._found(piece), "finish_reason": finished}
        return self._head.object("chatcmpl", "chat.completion", [choice], usage=usage.to_json())

    def first(self) -> dict[str, Any] | None:
        """See `Answer`."""
        return self._chunk({"role": "assistant", "content": ""}, None, None)

    def chunk(self, piece: Piece, finished: FinishReason | None) -> dict[str, Any]:
        """See `Answer`."""
        return self._chunk({"content": piece.text} if piece.text else {}, self._found(piece), finished)

    def usage(self, usage: Usage) -> dict[str, Any]:
        """See `Answer`."""
        return self._head.object("chatcmpl", "chat.completion.chunk", [], usage=usage.to_json())

    def _chunk(self, delta: dict[str, Any], logprobs: Any, finished: FinishReason | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finished}
        return self._head.object("chatcmpl", "chat.completion.chunk", [choice])

    def _found(self, piece: Piece) -> dict[str, Any] | None:
        if not self._logprobs:
            return None
        return {"content": [self._token(token) for token in piece.tokens], "refusal": None}

    def _token(self, token: Token) -> dict[str, Any]:
        found = token.found
        top = [self._entry(other, logprob) for other, logprob in found.alternatives]
        return {**self._entry(found.id, found.logprob), "top_logprobs": top}

    def _entry(self, token: int, logprob: float) -> dict[str, Any]:
        return {"token": self._names.name(token), "logprob": _finite(logprob), "bytes": self._names.bytes(token)}


class TextAnswer:
    """The continuation of a text."""

    def __init__(self, model: str, names: TokenNames, *, logprobs: bool) -> None:
        self._head, self._names, self._logprobs = _Head(model, names), names, logprobs

    def whole(self, piece: Piece, finished: FinishReason, usage: Usage) -> dict[str, Any]:
        """See `Answer`."""
        return self._object([self._choice(piece, finished)], usage=usage.to_json())

    def first(self) -> dict[str, Any] | None:
        """See `Answer`."""
        return None

    def chunk(self, piece: Piece, finished: FinishReason | None) -> dict[str, Any]:
        """See `Answer`."""
        return self._object([self._choice(piece, finished)])

    def usage(self, usage: Usage) -> dict[str, Any]:
        """See `Answer`."""
        return self._object([], usage=usage.to_json())

    def _object(self, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return self._head.object("cmpl", "text_completion", choices, **more)

    def _choice(self, piece: Piece, finished: FinishReason | None) -> dict[str, Any]:
        logprobs = self._found(piece.tokens) if self._logprobs else None
        return {"index": 0, "text": piece.text, "logprobs": logprobs, "finish_reason": finished}

    def _found(self, tokens: Sequence[Token]) -> dict[str, Any]:
        name = self._names.name
        return {
            "tokens": [name(token.found.id) for token in tokens],
            "token_logprobs": [_finite(token.found.logprob) for token in tokens],
            "top_logprobs": [
                {name(other): _finite(logprob) for other, logprob in token.found.alternatives} for token in tokens
            ],
            "text_offset": [token.offset for token in tokens],
        }


def _finite(logprob: float) -> float:
    return logprob if math.isfinite(logprob) else _LEAST_LOGPROB
