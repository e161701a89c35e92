"""A run of `longreel train` or `import-model` as a model that answers.

The prompt is rendered by the chat template of the run's text tokenizer (`tokenizer/text/chat`), in which a message
cannot contain special tokens. What was run for earlier turns of a conversation is kept by the engine.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.inference.config import LocalConfig
from pipeline.inference.loading import load_engine
from pipeline.inference.media import MediaEncoder
from pipeline.language_models.chat import ChatRequest, Media, Message, Reply, RequestRefused
from schemas.dataset_files import TEXT_TOKENIZER
from schemas.errors import ConfigError
from tokenizer.text.chat.render import render_chat
from tokenizer.text.chat.templates import stop_ids
from tokenizer.text.tokenizer import TextTokenizer
from trainer.inference.engine import Engine, EngineConfig
from trainer.inference.requests import Request, Sampling, StopConditions
from trainer.inference.stopping import before_stop


class LocalModel:
    """A `ChatModel` on this machine; one request is answered at a time."""

    def __init__(
        self, engine: Engine, tokenizer: TextTokenizer, *, name: str, context: int, media: MediaEncoder | None = None
    ) -> None:
        self._engine, self.tokenizer, self._name = engine, tokenizer, name
        self._context, self._media, self._lock = context, media, threading.Lock()

    @classmethod
    def load(cls, run: Path, config: LocalConfig) -> LocalModel:
        """Load the newest checkpoint of a run.

        Raises ConfigError if it is no run, or has no text tokenizer, DatasetError if its checkpoint is damaged.
        """
        if not (run / TEXT_TOKENIZER).is_dir():
            raise ConfigError(f"{run / TEXT_TOKENIZER} is missing: runs have the text tokenizer of their dataset there")
        engine, description = load_engine(
            run, EngineConfig(cache_dtype=config.cache_dtype), devices=config.devices, weights=config.weights
        )
        media = None
        if config.vision is not None:
            media = MediaEncoder.load(config.vision, description.vocabulary, most_frames=config.most_frames)
        tokenizer = TextTokenizer.load(run / TEXT_TOKENIZER)
        return cls(engine, tokenizer, name=str(run.resolve()), context=description.context_length, media=media)

    @property
    def name(self) -> str:
        """The folder of the run."""
        return self._name

    def ask(self, request: ChatRequest) -> Reply:
        """Return the reply; see `ChatModel.ask`."""
        prompt = self.prompt(request)
        *_, (text, ids, reason) = self._generated(request, prompt)
        return Reply(text=text, finish_reason=reason, prompt_tokens=len(prompt), reply_tokens=len(ids))

    def stream(self, request: ChatRequest) -> Iterator[str]:
        """Yield the reply in pieces of whole characters. Raises as `ask`."""
        shown = ""
        for text, _, reason in self._generated(request, self.prompt(request)):
            whole = text if reason else text.rstrip("\ufffd")  # a character can have several ids
            if len(whole) > len(shown) and whole.startswith(shown):
                yield whole[len(shown) :]
                shown = whole

    def choose(self, request: ChatRequest, choices: tuple[str, ...]) -> tuple[float, ...]:
        """Return the log-probability of each choice as the beginning of the reply; see `ChatModel.choose`."""
        prompt = self.prompt(request)
        with self._lock:
            return tuple(float(self._engine.score(prompt, self._encoded(choice)).sum()) for choice in choices)

    def prompt(self, request: ChatRequest) -> list[int]:
        """Return the ids of a request. Raises RequestRefused if they leave no room in the model's context."""
        rendered = render_chat([_plain(message) for message in request.messages], self.tokenizer)
        media = [part for message in request.messages for part in message.parts if isinstance(part, Media)]
        ids = _inserted(rendered.ids, rendered.media, [self._encoded_media(part) for part in media])
        if len(ids) + request.max_tokens > self._context:
            raise RequestRefused(
                f"the prompt has {len(ids):,} tokens and {request.max_tokens:,} are for the reply, but the model was "
                f"trained on contexts of {self._context:,}"
            )
        return [int(token) for token in ids]

    def _generated(self, request: ChatRequest, prompt: list[int]) -> Iterator[tuple[str, list[int], str]]:
        """Yield the text and ids so far, and at the end why the reply ends, else ""."""
        stop = StopConditions(ids=stop_ids(self.tokenizer), texts=request.stop, decode=self._decoded)
        sampling = Sampling(temperature=request.temperature, seed=request.seed)
        asked = Request(prompt=prompt, max_tokens=request.max_tokens, sampling=sampling, stop=stop)
        ids: list[int] = []
        with self._lock:
            for progress in self._engine.stream(asked):
                ids += progress.ids
                yield before_stop(self._decoded(ids), request.stop), ids, progress.finished or ""

    def _decoded(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(np.asarray([i for i in ids if i < self.tokenizer.size], np.uint32))

    def _encoded(self, text: str) -> list[int]:
        return [int(token) for token in self.tokenizer.encode(text, adds_prefix=False)]

    def _encoded_media(self, media: Media) -> NDArray[np.uint32]:
        if self._media is None:
            raise RequestRefused("pictures and videos need the VQGAN that the model was trained with: give --vision")
        return self._media(media)


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
