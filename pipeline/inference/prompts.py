"""Chats as ids: the template of the model's tokenizer, with pictures and videos at their places.

A message cannot contain special tokens (`tokenizer/text/chat`). Functions may be called by several threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.inference.media import MediaEncoder
from pipeline.language_models.chat import Media, Message, RequestRefused
from tokenizer.text.chat.render import render_chat
from tokenizer.text.tokenizer import TextTokenizer


class Prompts:
    """Makes the prompts of one model.

    Attributes:
        context: the number of ids that the model was trained on: prompt and reply together.
        media: encodes pictures and videos; None for a model that only reads text.
    """

    def __init__(self, tokenizer: TextTokenizer, *, context: int, media: MediaEncoder | None = None) -> None:
        self.tokenizer, self.context, self.media = tokenizer, context, media

    def chat(self, messages: Sequence[Message], *, reply: int) -> list[int]:
        """Return the ids of a chat, up to where the reply of at most `reply` ids begins.

        Raises RequestRefused if the model cannot read it, ConfigError if its chat template refuses the messages,
        InputError for text or media that cannot be decoded.
        """
        self._require_possible(messages)
        rendered = render_chat([_plain(message) for message in messages], self.tokenizer)
        media = [part for message in messages for part in message.parts if isinstance(part, Media)]
        ids = _inserted(rendered.ids, rendered.media, self._encoded(media, self.context - len(rendered.ids) - reply))
        return [int(token) for token in ids]

    def text(self, text: str) -> list[int]:
        """Return the ids of a text to continue, after the id that begins a document if the tokenizer puts one there.

        Raises as `chat`.
        """
        self._require_possible([Message("user", (text,))])
        starts = self.tokenizer.files.config.get("add_bos_token") is not False
        return [self.tokenizer.bos_id] * starts + [int(token) for token in self.tokenizer.encode(text)]

    def continuation(self, text: str) -> list[int]:
        """Return the ids of a text that continues a prompt."""
        return [int(token) for token in self.tokenizer.encode(text, adds_prefix=False)]

    def require_room(self, prompt: int, reply: int) -> None:
        """Raise RequestRefused if a prompt and a reply of these numbers of ids exceed the context."""
        if prompt + reply > self.context:
            raise RequestRefused(
                f"the prompt has {prompt:,} tokens and {reply:,} are for the reply, but the model was "
                f"trained on contexts of {self.context:,}"
            )

    def _require_possible(self, messages: Sequence[Message]) -> None:
        """Raise RequestRefused for a text with more bytes than fill the context, before time is spent on it."""
        size = sum(len(part) for message in messages for part in message.parts if isinstance(part, str))
        if size > self._most_bytes:
            raise RequestRefused(
                f"the text has {size:,} characters; the model was trained on contexts of {self.context:,} tokens, "
                f"which are at most {self._most_bytes:,} bytes"
            )

    @cached_property
    def _most_bytes(self) -> int:
        return self.context * max(map(len, self.tokenizer.surfaces))

    def _encoded(self, media: Sequence[Media], room: int) -> list[NDArray[np.uint32]]:
        """Return the ids of all media; videos share the `room` that pictures leave."""
        if not media:
            return []
        if self.media is None:
            raise RequestRefused("pictures and videos need the VQGAN that the model was trained with: give --vision")
        if not self.tokenizer.begin_vision:
            raise RequestRefused("this model only reads text: its text tokenizer has no pieces for <vision>")
        videos = sum(part.kind == "video" for part in media)
        left = room - (len(media) - videos) * (self.media.frame_tokens + 1)
        return [self.media(part, room=left // max(videos, 1)) for part in media]


def _plain(message: Message) -> dict[str, Any]:
    parts = [{"type": "text", "text": part} if isinstance(part, str) else {"type": part.kind} for part in message.parts]
    return {"role": message.role, "content": parts}


def _inserted(
    ids: NDArray[np.uint32], places: Sequence[int], inserted: Sequence[NDArray[np.uint32]]
) -> NDArray[np.uint32]:
    """Return the ids with others inserted before those at `places`, ascending."""
    pieces, at = [], 0
    for place, more in zip(places, inserted, strict=True):
        pieces += [ids[at:place], more]
        at = place
    return np.concatenate([*pieces, ids[at:]])
