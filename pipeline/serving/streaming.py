"""Replies in pieces: server-sent events. And requests whose client goes away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from pipeline.serving.errors import GONE, api_error

Result = TypeVar("Result")
_GRACE_S = 5.0  # after the deadline, for a client that does not read


class EventStream(StreamingResponse):
    """Sends objects as events. `owned` is closed when the last one is sent, or the client has gone."""

    media_type = "text/event-stream"

    def __init__(self, objects: AsyncIterator[dict[str, Any]], *, owned: AsyncExitStack, deadline: float) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # proxies must not collect events
        super().__init__(_events(objects), headers=headers)
        self._owned, self._deadline = owned, deadline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the reply."""
        async with self._owned:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._deadline + _GRACE_S):
                    await super().__call__(scope, receive, send)


async def _events(objects: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    try:
        async for one in objects:
            yield _event(json.dumps(one, ensure_ascii=False))
        yield _event("[DONE]")
    except Exception as e:  # noqa: BLE001 - the status is sent already, so the client is told in an event
        yield _event(json.dumps(api_error(e).body, ensure_ascii=False))


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


async def unless_gone(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """Return what `work` gives; cancel it if the client goes away meanwhile."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else Response(status_code=GONE)
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
