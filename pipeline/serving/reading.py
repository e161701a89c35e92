"""Reads the body of a request within limits of bytes, time and memory."""

from __future__ import annotations

import asyncio
import hmac
import re

from starlette.requests import ClientDisconnect, Request

from pipeline.serving.config import Access, Limits
from pipeline.serving.errors import ApiError

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_BODIES_HELD = 4  # of the largest size, in all requests that are being read
_DRAIN_S = 2.0  # a client that sends too much gets this long to see the reply
_RETRY_S = 5


def require_access(request: Request, access: Access, *, protected: bool) -> None:
    """Raise ApiError for a request to a protected path without the key, or one that another site's page sends.

    A server that only this machine can reach is reached by every page in a browser on it: a page may send simple
    requests, and, once its name resolves to 127.0.0.1, read the replies. So the Host must be this machine's.
    """
    host = re.sub(r":\d+$", "", request.headers.get("host", ""))
    if access.is_loopback and host.lower() not in _LOOPBACK:
        raise ApiError(403, f"the Host must be one of {', '.join(_LOOPBACK)}, got {host[:100]!r}")
    if not protected or (key := access.key) is None:
        return
    given = request.headers.get("authorization", "")
    scheme, _, sent = given.partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(sent.strip().encode("latin-1"), key.encode()):
        raise ApiError(401, "the API key is missing or wrong: send it as `Authorization: Bearer KEY`")


class BodyReader:
    """Reads bodies; together they hold at most a few of the largest size."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._held = limits, 0

    async def read(self, request: Request) -> bytes:
        """Return the body; raises ApiError if it is no JSON, too large or too slow, ClientDisconnect if it ends."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":  # a page of another site can only send simple requests, which JSON is not
            raise ApiError(415, f"the Content-Type must be application/json, got {kind[:100]!r}")
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise ApiError(415, "the body must not be compressed")
        held = 0
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_timeout_s):
                async for chunk in request.stream():
                    held += len(chunk)
                    self._held += len(chunk)
                    self._require_room(request, held)
                    body += chunk
        except ApiError as e:
            if e.status == 413:
                await _drain(request)
            raise
        except TimeoutError:
            raise ApiError(408, f"the body did not arrive within {self._limits.body_timeout_s:g} s") from None
        finally:
            self._held -= held
        return bytes(body)

    def _require_room(self, request: Request, held: int) -> None:
        most = self._limits.body_bytes
        declared = request.headers.get("content-length", "0")
        if held > most or (declared.isdigit() and int(declared[:20]) > most):
            raise ApiError(413, f"the body has more than {most:,} bytes")
        if self._held > _BODIES_HELD * most:
            raise ApiError(429, "the server is reading too many large requests", retry_s=_RETRY_S)


async def _drain(request: Request) -> None:
    """Read what a client still sends for a moment: one whose connection is closed meanwhile sees no reply."""
    try:
        async with asyncio.timeout(_DRAIN_S):
            while (message := await request.receive())["type"] == "http.request" and message.get("more_body"):
                pass
    except (TimeoutError, ClientDisconnect):
        return
