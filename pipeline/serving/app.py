"""The addresses of the server.

GET  /                       the page
GET  /health                 whether requests are answered
GET  /metrics                counters for Prometheus
GET  /v1/models[/NAME]       the model
POST /v1/chat/completions    a reply in a chat
POST /v1/completions         the continuation of a text
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from pipeline.inference.loading import text_only
from pipeline.inference.prompts import Prompts
from pipeline.serving.answers import Answer, ChatAnswer, TextAnswer, TokenNames, Usage
from pipeline.serving.attachments import Attachments
from pipeline.serving.bodies import ChatBody, CompletionBody, PicturesBody, parse_body
from pipeline.serving.config import Access, Limits
from pipeline.serving.errors import ApiError, on_error
from pipeline.serving.generation import Preparation, Prepared, deltas
from pipeline.serving.guard import Guard
from pipeline.serving.json_grammar import JsonGrammars
from pipeline.serving.metrics import Metrics
from pipeline.serving.pictures import Pictures
from pipeline.serving.reading import BodyReader
from pipeline.serving.reply_text import Piece, Token
from pipeline.serving.slots import Slots
from pipeline.serving.streaming import EventStream, unless_gone
from pipeline.serving.worker import EngineWorker, Generation
from schemas.errors import LongreelError

_PAGE = {
    "/": ("chat.html", "text/html"),
    "/chat.css": ("chat.css", "text/css"),
    "/chat.js": ("chat.js", "text/javascript"),
}


@dataclass(frozen=True)
class Served:
    """A model, and its name for clients."""

    name: str
    prompts: Prompts
    worker: EngineWorker


def make_app(served: Served, access: Access, limits: Limits) -> ASGIApp:
    """Return the application; its worker must be started."""
    return _Server(served, access, limits).app()


class _Server:
    def __init__(self, served: Served, access: Access, limits: Limits) -> None:
        engine, prompts = served.worker.engine, served.prompts
        self._served, self._access, self._limits = served, access, limits
        self._metrics = Metrics(engine.speed)
        self._slots = Slots(engine.config.rows + limits.queue)
        self._metrics.observe_slots(lambda: self._slots.used, self._slots.limit)
        self._reader = BodyReader(limits)
        self._names = TokenNames(prompts.tokenizer)
        self._started = int(time.time())
        attachments = Attachments(access.media_root, can_see=prompts.media is not None)
        grammars = JsonGrammars(prompts.tokenizer, size=engine.size)
        self._preparation = Preparation(prompts, grammars, attachments, limits, frames=text_only(engine))
        self._pictures = Pictures(prompts, served.worker, count=self._metrics.reply_tokens.inc)

    def app(self) -> ASGIApp:
        """Return the application."""
        routes = [Route(path, _static(*page)) for path, page in _PAGE.items()] + [
            Route("/health", self._health),
            Route("/metrics", self._measured),
            Route("/v1/models", self._models),
            Route("/v1/models/{name:path}", self._model),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/completions", self._text, methods=["POST"]),
            Route("/v1/images/generations", self._drawn, methods=["POST"]),
        ]
        handlers = dict.fromkeys((ApiError, LongreelError, HTTPException, ClientDisconnect, Exception), on_error)
        app = Starlette(routes=routes, exception_handlers=handlers)
        paths = frozenset(route.path for route in routes)
        return Guard(app, access=self._access, metrics=self._metrics, paths=paths)

    async def _health(self, _: Request) -> Response:
        failed = self._served.worker.failure is not None
        return JSONResponse({"status": "failed" if failed else "ok"}, 503 if failed else 200)

    async def _measured(self, _: Request) -> Response:
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _models(self, _: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._facts()]})

    async def _model(self, request: Request) -> Response:
        self._require_model(request.path_params["name"])
        return JSONResponse(self._facts())

    async def _chat(self, request: Request) -> Response:
        body = parse_body(await self._reader.read(request), ChatBody)
        self._require_model(body.model)
        answer = ChatAnswer(self._served.name, self._names, logprobs=bool(body.logprobs))
        return await unless_gone(request, self._reply(body, answer))

    async def _text(self, request: Request) -> Response:
        body = parse_body(await self._reader.read(request), CompletionBody)
        self._require_model(body.model)
        answer = TextAnswer(self._served.name, self._names, logprobs=body.logprobs is not None)
        return await unless_gone(request, self._reply(body, answer))

    async def _drawn(self, request: Request) -> Response:
        body = parse_body(await self._reader.read(request), PicturesBody)
        self._require_model(body.model)
        return await unless_gone(request, self._files(body))

    async def _files(self, body: PicturesBody) -> Response:
        with self._slots.taken():
            try:
                async with asyncio.timeout(self._limits.timeout_s):
                    data = await self._pictures.generated(body)
            except TimeoutError:
                raise ApiError(504, "nothing was drawn at the time limit of this server", code="timeout") from None
        return JSONResponse({"created": int(time.time()), "data": data})

    async def _reply(self, body: ChatBody | CompletionBody, answer: Answer) -> Response:
        started = asyncio.get_running_loop().time()
        deadline = started + self._limits.timeout_s
        async with AsyncExitStack() as owned:
            owned.enter_context(self._slots.taken())
            try:
                async with asyncio.timeout_at(deadline):
                    prepared = await self._preparation.prepared(body)
                    generation = await owned.enter_async_context(self._served.worker.generating(prepared.request))
            except TimeoutError:
                raise ApiError(
                    504, "the prompt was not ready at the time limit of this server", code="timeout"
                ) from None
            self._metrics.prompt_tokens.inc(prepared.prompt_tokens)
            reply = _Reply(prepared, generation, answer, self._metrics, started=started, deadline=deadline)
            if not body.stream:
                return JSONResponse(await reply.whole())
            objects = reply.pieces(includes_usage=body.includes_usage)
            return EventStream(objects, owned=owned.pop_all(), deadline=deadline)

    def _require_model(self, name: str | None) -> None:
        if name not in (None, self._served.name):
            raise ApiError(
                404, f"the model {name[:100]!r} is not served, only {self._served.name!r}", code="model_not_found"
            )

    def _facts(self) -> dict[str, Any]:
        prompts = self._served.prompts
        facts = {"id": self._served.name, "object": "model", "created": self._started, "owned_by": "longreel"}
        return {
            **facts,
            "max_model_len": prompts.context,
            "sees": prompts.media is not None,
            "draws": self._pictures.possible,
        }


@dataclass(frozen=True)
class _Reply:
    """One reply, whole or in pieces."""

    prepared: Prepared
    generation: Generation
    answer: Answer
    metrics: Metrics
    started: float
    deadline: float

    async def whole(self) -> dict[str, Any]:
        """Return the object of the whole reply."""
        texts, tokens, count = list[str](), list[Token](), 0
        async for delta in deltas(self.prepared, self.generation, deadline=self.deadline):
            self._count(delta.count, is_first=count == 0)
            count += delta.count
            texts.append(delta.piece.text)
            tokens += delta.piece.tokens
        assert delta.finished is not None
        return self.answer.whole(Piece("".join(texts), tuple(tokens)), delta.finished, self._usage(count))

    async def pieces(self, *, includes_usage: bool) -> AsyncIterator[dict[str, Any]]:
        """Yield the objects of a reply in pieces."""
        count = 0
        if (first := self.answer.first()) is not None:
            yield first
        async for delta in deltas(self.prepared, self.generation, deadline=self.deadline):
            self._count(delta.count, is_first=count == 0)
            count += delta.count
            if delta.piece.text or delta.piece.tokens or delta.finished:
                yield self.answer.chunk(delta.piece, delta.finished)
        if includes_usage:
            yield self.answer.usage(self._usage(count))

    def _count(self, ids: int, *, is_first: bool) -> None:
        self.metrics.reply_tokens.inc(ids)
        if is_first:
            self.metrics.first_token_seconds.observe(asyncio.get_running_loop().time() - self.started)

    def _usage(self, count: int) -> Usage:
        return Usage(self.prepared.prompt_tokens, count)


def _static(name: str, kind: str) -> Callable[[Request], Any]:
    content = (files("pipeline.serving") / "page" / name).read_bytes()

    async def send(_: Request) -> Response:
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    return send
