"""From the body of a request to the pieces of its reply."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.inference.prompts import Prompts
from pipeline.serving.attachments import Attachments
from pipeline.serving.bodies import ChatBody, CompletionBody, SamplingBody
from pipeline.serving.config import Limits
from pipeline.serving.errors import ApiError
from pipeline.serving.json_grammar import AllowedJson, JsonGrammars
from pipeline.serving.reply_text import Piece, ReplyText
from pipeline.serving.worker import Generation
from schemas.errors import InputError
from tokenizer.text.chat.templates import turn_ends
from trainer.inference.requests import FinishReason, FrameLimits, Request, Sampling, StopConditions

_PREPARING = 2  # requests whose prompts are made at a time
_ALL_SEEDS = 1 << 64
_REPLY_TOKENS = 256  # that frames leave for a reply without a limit


@dataclass(frozen=True)
class Prepared:
    """A request for the engine, and what turns its ids into text."""

    request: Request
    text: ReplyText
    allowed: AllowedJson | None

    @property
    def prompt_tokens(self) -> int:
        """The number of ids of the prompt."""
        return len(self.request.prompt)


@dataclass(frozen=True)
class Delta:
    """What a step added to a reply."""

    piece: Piece
    count: int  # of ids
    finished: FinishReason | None


class Preparation:
    """Makes requests for the engine, in threads of its own: templates, text and media take their time."""

    def __init__(
        self,
        prompts: Prompts,
        grammars: JsonGrammars,
        attachments: Attachments,
        limits: Limits,
        *,
        frames: FrameLimits | None,
    ) -> None:
        self._frames = frames
        self._prompts, self._grammars, self._attachments = prompts, grammars, attachments
        self._limits = limits
        self._threads = ThreadPoolExecutor(_PREPARING, thread_name_prefix="prompt")

    async def prepared(self, body: ChatBody | CompletionBody) -> Prepared:
        """Return the request; raises ApiError, or what `Prompts` raises, if there can be none."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._prepared, body)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(cancel_futures=True)

    def _prepared(self, body: ChatBody | CompletionBody) -> Prepared:
        allowed = self._grammars.allowed(body.response_format)
        prompt = self._chat(body) if isinstance(body, ChatBody) else self._completion(body)
        continues = not isinstance(body, ChatBody)
        ends = turn_ends(self._prompts.tokenizer)
        stops = body.stops if continues or allowed else (*body.stops, *ends.texts)
        request = Request(
            prompt=prompt,
            max_tokens=self._reply_tokens(body, len(prompt)),
            sampling=sampling_of(body),
            stop=self._stop(ends.ids, stops),
            frames=self._frames,
            allowed=allowed,
            logprobs=body.alternatives,
        )
        return Prepared(request, ReplyText(self._prompts.tokenizer, stops, continues=continues), allowed)

    def _chat(self, body: ChatBody) -> list[int]:
        with tempfile.TemporaryDirectory(prefix="longreel-serve-") as folder:
            messages = self._attachments.messages(body.messages, Path(folder))
            try:
                return self._prompts.chat(messages, reply=body.reply_tokens or _REPLY_TOKENS)
            except InputError as e:
                raise ApiError(400, str(e).replace(f"{folder}/", "attachment "), param="messages") from e

    def _completion(self, body: CompletionBody) -> list[int]:
        given = body.the_prompt
        if isinstance(given, str):
            return self._prompts.text(given)
        size = self._grammars.size
        if len(given) > self._prompts.context or not all(0 <= token < size for token in given):
            raise ApiError(
                400, f"prompt must be at most {self._prompts.context:,} ids in 0..{size - 1:,}", param="prompt"
            )
        return given

    def _reply_tokens(self, body: ChatBody | CompletionBody, prompt: int) -> int:
        limit, asked = self._limits.max_reply_tokens, body.reply_tokens
        if limit is not None and asked is not None and asked > limit:
            raise ApiError(
                400, f"this server's replies have at most {limit:,} tokens, got {asked:,}", param="max_tokens"
            )
        count = asked or min(limit or self._prompts.context, max(self._prompts.context - prompt, 1))
        self._prompts.require_room(prompt, count)
        return count

    def _stop(self, ids: tuple[int, ...], texts: tuple[str, ...]) -> StopConditions:
        tokenizer = self._prompts.tokenizer

        def decode(ids: object) -> str:
            plain = np.asarray(ids, np.int64)
            return tokenizer.surface(plain[plain < tokenizer.size]).decode("utf-8", "replace")

        return StopConditions(ids=ids, texts=texts, decode=decode)


def sampling_of(body: SamplingBody) -> Sampling:
    """Return what a request asks of the sampling; without a seed a random one is chosen."""
    seed = secrets.randbelow(_ALL_SEEDS) if body.seed is None else body.seed % _ALL_SEEDS
    given = {
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": None if body.top_k is None else max(body.top_k, 0),
        "min_p": body.min_p,
        "repetition_penalty": body.repetition_penalty,
    }
    return Sampling(seed=seed, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


async def deltas(prepared: Prepared, generation: Generation, *, deadline: float) -> AsyncIterator[Delta]:
    """Yield what is added to a reply; the last one says why it ends.

    Raises ApiError (504) at the deadline, a time of the event loop.
    """
    progress = aiter(generation)
    finished: FinishReason | None = None
    while finished is None:
        try:
            async with asyncio.timeout_at(deadline):
                news = await anext(progress)
        except TimeoutError:
            raise ApiError(504, "the reply was not complete at the time limit of this server", code="timeout") from None
        piece, finished = prepared.text.add(news.ids, news.logprobs), news.finished
        if finished is not None:
            rest = prepared.text.finish()
            piece = Piece(piece.text + rest.text, piece.tokens + rest.tokens)
            if prepared.allowed is not None and prepared.allowed.error:
                raise ApiError(400, f"the schema cannot be followed: {prepared.allowed.error}", param="response_format")
        elif prepared.text.stopped:
            finished = "stop"
        yield Delta(piece, len(news.ids), finished)
