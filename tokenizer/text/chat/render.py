"""Renders a chat to ids, as `apply_chat_template` of `transformers` does, but so that messages stay text.

    render_chat([{"role": "user", "content": "What happens?"}], tokenizer).ids

The special tokens that the template writes become their ids. Everything else is text, also a `</s>` or `<|im_end|>` in
a message, which `transformers` turns into the special token.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigError
from tokenizer.text.chat.literals import Literals
from tokenizer.text.chat.sandbox import Sandbox
from tokenizer.text.chat.templates import chat_template
from tokenizer.text.tokenizer import TextTokenizer

Message = Mapping[str, Any]

_MEDIA = ("image", "video", "image_url", "video_url")
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")


@dataclass(frozen=True)
class RenderedChat:
    """A chat in ids.

    Attributes:
        ids: [n].
        assistant: [n], True for the ids that the assistant writes, with the one that ends its turn; None if it was not
            asked for.
        media: for each image and video in order, the position in `ids` at which its frames belong: between the ids of
            `<vision>` and `</vision>`.
    """

    ids: NDArray[np.uint32]
    assistant: NDArray[np.bool_] | None
    media: tuple[int, ...]


def render_chat(
    messages: Sequence[Message],
    tokenizer: TextTokenizer,
    *,
    add_generation_prompt: bool = True,
    tools: Sequence[Mapping[str, Any]] | None = None,
    mask: bool = False,
    now: datetime | None = None,
    options: Mapping[str, Any] | None = None,
) -> RenderedChat:
    """Render messages, each with `role` and `content`, with the template of the tokenizer.

    `content` is a string, or a list of parts as in OpenAI's API, of type text, image, video, image_url or video_url.
    `mask` asks for `assistant`; `now` is the time for templates that write the date; `options` are variables of the
    template, such as `enable_thinking`. Raises ConfigError if the template is not valid, takes too long, or refuses the
    messages; InputError for an unpaired surrogate.
    """
    chat = _Chat(tokenizer, messages, tools=tools, now=now, options=options or {})
    text = chat.output(len(messages), prompt=add_generation_prompt)
    spans = list(chat.assistant_spans(text)) if mask else []
    return chat.to_ids(text, spans if mask else None)


class _Span(NamedTuple):
    start: int  # characters of the output
    end: int


class _Chat:
    def __init__(
        self,
        tokenizer: TextTokenizer,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None,
        now: datetime | None,
        options: Mapping[str, Any],
    ) -> None:
        self._tokenizer = tokenizer
        source = chat_template(tokenizer, tools=bool(tools))
        given = _json({"messages": list(messages), "tools": tools, "options": dict(options)})
        self._literals = Literals(tokenizer.control.keys(), [source, given])
        plain = json.loads(given)
        self._messages = [self._message(message) for message in plain["messages"]]
        self._sandbox = Sandbox(self._literals.rewrite)
        self._sandbox.filters["plain_"] = self._literals.decode
        self._sandbox.globals["strftime_now"] = (now or datetime.now()).strftime
        self._template = self._sandbox.compile_template(source)
        names = {name: tokenizer.files.config.get(name) for name in _SPECIAL}
        special = {name: self._literals.encode(token) for name, token in names.items() if token}
        self._values = {**plain["options"], **special, "tools": plain["tools"], "documents": None}
        roles = {message["role"] for message in self._messages} | {"assistant"}
        self._pattern = self._literals.pattern(roles)

    def output(self, count: int, *, prompt: bool) -> str:
        """Return the output for the first `count` messages."""
        values = {**self._values, "messages": self._messages[:count], "add_generation_prompt": prompt}
        return self._sandbox.render(self._template, values)

    def assistant_spans(self, text: str) -> Iterator[_Span]:
        """Yield what each message of the assistant adds to the output after the prompt for it."""
        for i, message in enumerate(self._messages):
            if message["role"] != "assistant":
                continue
            # A role is in the code where the template wrote it, and not where it copied it from a message.
            outputs = self.output(i, prompt=True), self.output(i + 1, prompt=False), text
            before, after, whole = map(self._literals.decode, outputs)
            if not (whole.startswith(before) and whole.startswith(after)):
                raise ConfigError(
                    "the chat template writes a message in another way when others follow it, so the ids of the "
                    "assistant cannot be told apart: render each answer with the messages before it"
                )
            yield _Span(len(before), len(after))

    def to_ids(self, text: str, spans: list[_Span] | None) -> RenderedChat:
        """Return the ids of an output."""
        ids: list[NDArray[Any]] = []
        flags: list[NDArray[np.bool_]] = []
        media: list[int] = []
        for start, end, special in self._pieces(text):
            if special is None:
                part, inside = self._text(text[start:end], start, spans or [])
            else:
                part, hole = self._special(special)
                inside = np.full(len(part), any(span.start <= start < span.end for span in spans or []))
                media += [] if hole is None else [sum(map(len, ids)) + hole]
            ids.append(part)
            flags.append(inside)
        joined = np.concatenate([np.empty(0, np.uint32), *ids]).astype(np.uint32)
        if spans is None:
            return RenderedChat(joined, None, tuple(media))
        return RenderedChat(joined, np.concatenate([np.empty(0, np.bool_), *flags]), tuple(media))

    def _pieces(self, text: str) -> Iterator[tuple[int, int, str | None]]:
        """Yield (start, end, special token or None) of the pieces of an output."""
        at = 0
        for match in self._pattern.finditer(text):
            if at < match.start():
                yield at, match.start(), None
            yield match.start(), match.end(), match[0]
            at = match.end()
        if at < len(text):
            yield at, len(text), None

    def _special(self, spelling: str) -> tuple[NDArray[Any], int | None]:
        """Return the ids of a special token; of an image or video, its markers and the position between them."""
        if spelling == self._literals.media:
            begin, end = self._tokenizer.begin_vision, self._tokenizer.end_vision
            return np.array([*begin, *end], np.uint32), len(begin)
        return np.array([self._tokenizer.control[self._literals.decode(spelling)]], np.uint32), None

    def _text(self, piece: str, start: int, spans: list[_Span]) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
        adds_prefix = start == 0 or not self._tokenizer.adds_prefix_once
        encode = functools.partial(self._tokenizer.encode, adds_prefix=adds_prefix)
        ids = encode(self._literals.decode(piece))
        inside = np.zeros(len(ids), np.bool_)
        starts = self._tokenizer.byte_offsets(ids)[:-1]
        for span in spans:
            first, last = span.start - start, span.end - start
            if first >= len(piece) or last <= 0 or self._is_end(piece, first, last):
                continue
            edges = [
                len(self._tokenizer.surface(encode(self._literals.decode(piece[: max(0, at)])))) for at in (first, last)
            ]
            inside |= (starts >= edges[0]) & (starts < edges[1])
        return ids, inside

    def _is_end(self, piece: str, first: int, last: int) -> bool:
        """Return whether a piece is the white space after the special token that ends a turn."""
        return first < 0 and last <= len(piece) and piece[:last].isspace()

    def _message(self, message: Message) -> dict[str, Any]:
        """Return a message with `content` as a string, and with `text` and `media` apart for LWM's template."""
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise ConfigError(f"a message must be an object with the string `role`, got {message!r:.80}")
        content = message.get("content")
        if isinstance(content, list):
            parts = [self._part(part) for part in content]
            media = "".join(part for part in parts if part == self._literals.media)
            text = "".join(part for part in parts if part != self._literals.media)
            return {**message, "content": "".join(parts), "text": text, "media": media}
        if content is not None and not isinstance(content, str):
            raise ConfigError(f"the content of a message must be a string or a list of parts, got {content!r:.80}")
        return {**message, "text": content or "", "media": ""}

    def _part(self, part: Any) -> str:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            return str(part["text"])
        if kind in _MEDIA:
            return self._literals.media
        raise ConfigError(f"a part of a message must be of type text, {', '.join(_MEDIA)}, got {part!r:.80}")


def _json(values: Mapping[str, Any]) -> str:
    """Return the values as JSON, so that a template only gets plain values."""
    try:
        return json.dumps(values, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as e:
        raise ConfigError(f"messages, tools and options must be JSON values: {e}") from e
