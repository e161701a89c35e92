"""A run of `longreel train` or `import-model` as a model that answers.

What was run for earlier turns of a conversation is kept by the engine.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.inference.config import LocalConfig
from pipeline.inference.loading import load_chat, text_only
from pipeline.inference.prompts import Prompts
from pipeline.language_models.chat import ChatRequest, Reply
from schemas.errors import ConfigError
from schemas.storage.location import Location, located
from tokenizer.text.chat.templates import turn_ends
from tokenizer.text.tokenizer import TextTokenizer
from trainer.inference.engine import Engine, EngineConfig
from trainer.inference.requests import Request, Sampling, StopConditions
from trainer.inference.stopping import before_stop


class LocalModel:
    """A `ChatModel` on this machine; one request is answered at a time."""

    def __init__(self, engine: Engine, prompts: Prompts, *, name: str) -> None:
        self._engine, self._prompts, self._name = engine, prompts, name
        self._lock = threading.Lock()

    @classmethod
    def load(cls, run: Location | Path, config: LocalConfig) -> LocalModel:
        """Load the newest checkpoint of a run.

        Raises ConfigError if it is no run, or has no text tokenizer, DatasetError if its checkpoint is damaged.
        """
        engine, prompts = load_chat(
            run, config, EngineConfig(cache_dtype=config.cache_dtype, weight_dtype=config.weight_dtype)
        )
        place = located(run)
        return cls(engine, prompts, name=str(place.local().resolve() if place.is_local else place))

    @property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer of the model."""
        return self._prompts.tokenizer

    @property
    def name(self) -> str:
        """The folder of the run."""
        return self._name

    def ask(self, request: ChatRequest) -> Reply:
        """Return the reply; see `ChatModel.ask`."""
        return self._reply(self._in_chat(request), self.prompt(request))

    def complete(self, request: ChatRequest) -> Reply:
        """Return what follows the text of the last message, without a chat template. Raises as `ask`."""
        prompt = self._prompts.text(request.messages[-1].text)
        self._prompts.require_room(len(prompt), request.max_tokens)
        return self._reply(request, prompt)

    def _reply(self, request: ChatRequest, prompt: list[int]) -> Reply:
        *_, (text, ids, reason) = self._generated(request, prompt)
        return Reply(text=text, finish_reason=reason, prompt_tokens=len(prompt), reply_tokens=len(ids))

    def stream(self, request: ChatRequest) -> Iterator[str]:
        """Yield the reply in pieces of whole characters. Raises as `ask`."""
        shown, prompt, request = "", self.prompt(request), self._in_chat(request)
        for text, _, reason in self._generated(request, prompt):
            whole = text if reason else text.rstrip("\ufffd")  # a character can have several ids
            if len(whole) > len(shown) and whole.startswith(shown):
                yield whole[len(shown) :]
                shown = whole

    def choose(self, request: ChatRequest, choices: tuple[str, ...]) -> tuple[float, ...]:
        """Return the log-probability of each choice as the beginning of the reply; see `ChatModel.choose`."""
        prompt = self.prompt(request)
        with self._lock:
            return tuple(
                float(self._engine.score(prompt, self._prompts.continuation(choice)).sum()) for choice in choices
            )

    def prompt(self, request: ChatRequest) -> list[int]:
        """Return the ids of a request.

        Raises RequestRefused if they leave no room in the model's context, ConfigError if a JSON schema is asked for.
        """
        if request.json_schema is not None:
            raise ConfigError("--model follows no JSON schema; start `longreel serve` with it and give --endpoint")
        ids = self._prompts.chat(request.messages, reply=request.max_tokens)
        self._prompts.require_room(len(ids), request.max_tokens)
        return ids

    def _in_chat(self, request: ChatRequest) -> ChatRequest:
        """Return the request with the texts that end a turn of the chat."""
        return replace(request, stop=(*request.stop, *turn_ends(self.tokenizer).texts))

    def _generated(self, request: ChatRequest, prompt: list[int]) -> Iterator[tuple[str, list[int], str]]:
        """Yield the text and ids so far, and at the end why the reply ends, else ""."""
        stop = StopConditions(ids=turn_ends(self.tokenizer).ids, texts=request.stop, decode=self._decoded)
        sampling = Sampling(temperature=request.temperature, seed=request.seed)
        asked = Request(
            prompt=prompt,
            max_tokens=request.max_tokens,
            sampling=sampling,
            stop=stop,
            frames=text_only(self._engine),
        )
        ids: list[int] = []
        with self._lock:
            for progress in self._engine.stream(asked):
                ids += progress.ids
                yield before_stop(self._decoded(ids), request.stop), ids, progress.finished or ""

    def _decoded(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(np.asarray([i for i in ids if i < self.tokenizer.size], np.uint32))
