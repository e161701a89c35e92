"""Connections that do nothing are closed: uvicorn's protocol with a limit of time.

uvicorn waits without limit for the first request of a connection and for the rest of one that has begun, and after a
reply for a client that does not read it.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

IDLE_S = 20.0
_CHECK_S = 1.0


class LimitedProtocol(H11Protocol):
    """Closes a connection that has no request for `idle_s` seconds."""

    idle_s = IDLE_S

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to check the connection."""
        super().connection_made(transport)
        self._idle_since: float | None = None
        self._check()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the checks."""
        self._next_check.cancel()
        super().connection_lost(exc)

    def _check(self) -> None:
        self._next_check = self.loop.call_later(min(_CHECK_S, self.idle_s), self._check)
        if self.cycle is not None and not self.cycle.response_complete and not self.transport.is_closing():
            self._idle_since = None
            return
        now = self.loop.time()
        self._idle_since = self._idle_since or now
        if now - self._idle_since >= self.idle_s:
            self.transport.abort()
