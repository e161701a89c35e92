"""Around every request: who may send it, what is counted, and headers that protect the page."""

from __future__ import annotations

import logging
import time

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.serving.config import Access
from pipeline.serving.errors import GONE, ApiError, on_error
from pipeline.serving.metrics import Metrics
from pipeline.serving.reading import require_access

_PROTECTED = ("/v1/", "/metrics")
# The page loads nothing from elsewhere, and is shown in no other page.
_HEADERS = {
    b"content-security-policy": b"default-src 'self'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
}
_log = logging.getLogger(__name__)


class Guard:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, *, access: Access, metrics: Metrics, paths: frozenset[str]) -> None:
        """`paths` are those that are counted by their name."""
        self._app, self._access, self._metrics, self._paths = app, access, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self._paths else "other"
        started, status = time.monotonic(), 0

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_HEADERS.items()]
            await send(message)

        try:
            await self._answer(Request(scope, receive), counted)
        except Exception:  # noqa: BLE001 - it is answered if that was possible
            _log.exception("a request failed")
        finally:
            self._metrics.requests.labels(path, str(status or GONE)).inc()
            self._metrics.seconds.labels(path).observe(time.monotonic() - started)

    async def _answer(self, request: Request, send: Send) -> None:
        try:
            require_access(request, self._access, protected=request.scope["path"].startswith(_PROTECTED))
        except ApiError as e:
            await (await on_error(request, e))(request.scope, request.receive, send)
            return
        await self._app(request.scope, request.receive, send)
