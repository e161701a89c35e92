"""What the exceptions of obstore mean: their messages contain the answers of the store."""

from __future__ import annotations

import re
from dataclasses import replace
from types import TracebackType

from schemas.storage.failures import Failure, Kind, RequestFailed

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_INVALID_NAME = re.compile(r'(?:invalid path|not parse path): [^"]*"([^"]{1,1024})"')
_PASSING = {408, 409, 429, 500, 502, 503, 504}
_PASSING_CODES = {"SlowDown", "Throttling", "ThrottlingException", "RequestTimeout", "InternalError", "BadDigest"}


class _Failures:
    """A context manager that raises RequestFailed for the exceptions of obstore; it costs nothing if there is none.

    `past_end` is what 416 means.
    """

    def __init__(self, past_end: Kind) -> None:
        self._past_end = past_end

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        if e is None:
            return
        from obstore.exceptions import BaseError

        if isinstance(e, FileNotFoundError):
            raise RequestFailed(failure(str(e), Kind.ABSENT)) from None
        if isinstance(e, BaseError | OSError | ValueError):
            found = failure(str(e), _KINDS.get(type(e).__name__))
            raise RequestFailed(replace(found, kind=self._past_end) if found.kind is Kind.PAST_END else found) from None


FAILURES, FAILURES_OF_A_RANGE = _Failures(Kind.REFUSED), _Failures(Kind.PAST_END)
_KINDS = {
    "AlreadyExistsError": Kind.CONFLICT,
    "PreconditionError": Kind.CONFLICT,
    "PermissionDeniedError": Kind.DENIED,
    "UnauthenticatedError": Kind.DENIED,
}


def failure(message: str, kind: Kind | None) -> Failure:
    """Return what an exception with this message means; `kind` is what its type means, if that is known."""
    status_text, code_text = _STATUS.search(message), _CODE.search(message)
    status = int(status_text[1]) if status_text else None
    code = code_text[1] if code_text else ""
    text = f"HTTP {status} {code}".strip()
    if "169.254.169.254" in message or "169.254.170.2" in message:
        return Failure(Kind.DENIED, "no credentials found")
    if code == "NoSuchBucket":
        return Failure(Kind.NO_BUCKET, text)
    if status is None:
        return _without_status(message, kind)
    if status in _PASSING or code in _PASSING_CODES:
        return Failure(Kind.BUSY, text)
    if status == 301:
        return Failure(Kind.REFUSED, f"{text}: the bucket is in another region")
    return Failure({401: Kind.DENIED, 403: Kind.DENIED, 416: Kind.PAST_END}.get(status, kind or Kind.REFUSED), text)


def _without_status(message: str, kind: Kind | None) -> Failure:
    if kind is not None:
        return Failure(kind, "")
    if (name := _INVALID_NAME.search(message)) is not None:
        return Failure(Kind.INVALID_NAME, repr(name[1]))
    if re.search(r"kind: Timeout|TimedOut|timed out", message):
        return Failure(Kind.NO_ANSWER, "timeout")
    if re.search(r"kind: Connect|Connect\b", message):
        return Failure(Kind.NO_ANSWER, "no connection")
    if re.search(r"HTTP error|reqwest|hyper|error decoding response|connection|incomplete", message):
        return Failure(Kind.BUSY, "connection lost")
    return Failure(Kind.REFUSED, message.split("\n")[0][:200])
