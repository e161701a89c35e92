"""Errors as OpenAI's interface has them: a status, and a JSON object with message, type, param and code."""

from __future__ import annotations

import logging
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from pipeline.language_models.chat import RequestRefused
from schemas.errors import ConfigError, InputError, LongreelError

GONE = 499  # what is counted for a client that has gone; it sees nothing
_TYPES = {401: "authentication_error", 429: "rate_limit_error"}
_log = logging.getLogger(__name__)


class ApiError(Exception):
    """A request gets no reply, for a reason that its client is told."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code
        self.headers = {} if retry_s is None else {"Retry-After": str(retry_s)}
        if status in (408, 413):  # the rest of the body is not read
            self.headers["Connection"] = "close"

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object."""
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


def api_error(error: Exception) -> ApiError:
    """Return what a client is told about an error; one that is a defect is logged, and not told."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, HTTPException):
        return ApiError(error.status_code, error.detail)
    if isinstance(error, RequestRefused):
        return ApiError(400, str(error), param="messages", code="context_length_exceeded")
    if isinstance(error, ConfigError | InputError):
        return ApiError(400, str(error))
    if isinstance(error, LongreelError):
        _log.error("a request failed: %s", error)
        return ApiError(500, str(error))
    _log.error("a request failed", exc_info=error)
    return ApiError(500, "internal error; the server's log has the details")


async def on_error(_: Request, error: Exception) -> Response:
    """Answer a request that raised."""
    if isinstance(error, ClientDisconnect):
        return Response(status_code=GONE)
    told = api_error(error)
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else told.headers
    return JSONResponse(told.body, told.status, headers)
