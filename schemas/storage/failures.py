"""Requests to a remote store: what their failures mean, and when they are tried again.

What may pass (5xx, 429, SlowDown, a connection that is lost, a timeout) is tried again with exponential backoff and
jitter. Messages contain neither responses nor headers, in which servers repeat access keys.
"""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum, auto
from typing import NoReturn, TypeVar

from schemas.errors import BucketError, Conflict, Unreachable

T = TypeVar("T")

_FIRST_WAIT_S, _MAX_WAIT_S = 0.1, 8.0
PATIENCE_S = 120.0  # of one request, if the store has answered this process before
FIRST_PATIENCE_S = 10.0  # if it never has: the address is probably wrong


@dataclass(frozen=True)
class Patience:
    """How often and how long requests of the current thread are tried, and how it waits (False: no longer)."""

    attempts: int
    wait_s: float
    sleep: Callable[[float], bool]


_patience: ContextVar[Patience | None] = ContextVar("patience", default=None)


@contextmanager
def patience(limits: Patience) -> Iterator[None]:
    """Apply other limits to the requests of the body: of an input, which a job can do without."""
    token = _patience.set(limits)
    try:
        yield
    finally:
        _patience.reset(token)


class Kind(Enum):
    """What a failed request means."""

    ABSENT = auto()  # no such object
    NO_BUCKET = auto()
    DENIED = auto()  # no credentials, wrong ones, or without permission
    CONFLICT = auto()  # the condition of a write does not hold, or the object of a read was replaced
    PAST_END = auto()  # a range that starts at or after the end
    BUSY = auto()  # may pass; the store answered
    NO_ANSWER = auto()  # may pass; the store did not answer
    INVALID_NAME = auto()  # the name of an object that the client does not accept, which is the text
    REFUSED = auto()  # anything else


@dataclass(frozen=True)
class Failure:
    """A failed request: its meaning, and a short text without credentials, such as `503 SlowDown`."""

    kind: Kind
    text: str

    @property
    def may_pass(self) -> bool:
        """Whether the same request can succeed later."""
        return self.kind in (Kind.BUSY, Kind.NO_ANSWER)


class RequestFailed(Exception):
    """A request failed; clients raise it instead of the exceptions of their libraries."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class Requests:
    """Sends the requests of one bucket. `advice` says what to check if the store cannot be reached or refuses."""

    def __init__(self, bucket_url: str, *, unreachable: str, denied: str) -> None:
        self._bucket_url, self._unreachable, self._denied = bucket_url, unreachable, denied
        self._has_answered = False

    def send(self, url: str, request: Callable[[int], T]) -> T:
        """Return the result of `request`, which is called with the number of the attempt, from 0.

        Raises FileNotFoundError, EOFError (past the end), Conflict or StorageError, which name `url`.
        """
        started = time.monotonic()
        attempt = 0
        while True:
            try:
                result = request(attempt)
            except RequestFailed as e:
                failure = e.failure
            else:
                self._has_answered = True
                return result
            if failure.kind is not Kind.NO_ANSWER:
                self._has_answered = True
            attempt += 1
            passed_s = time.monotonic() - started
            if not failure.may_pass or not self._wait(attempt, passed_s):
                self._raise(url, failure, f"{attempt} attempt{'s' * (attempt > 1)} in {passed_s:.0f} s")

    def _wait(self, attempt: int, passed_s: float) -> bool:
        """Wait before the next attempt; return False if there is to be none."""
        wait_s = random.uniform(0.5, 1.0) * min(_MAX_WAIT_S, _FIRST_WAIT_S * 2**attempt)
        patience_s = PATIENCE_S if self._has_answered else FIRST_PATIENCE_S
        limits = _patience.get()
        if limits is not None:
            patience_s = min(patience_s, limits.wait_s)
            return attempt < limits.attempts and passed_s + wait_s <= patience_s and limits.sleep(wait_s)
        if passed_s + wait_s > patience_s:
            return False
        time.sleep(wait_s)
        return True

    def _raise(self, url: str, failure: Failure, tries: str) -> NoReturn:
        match failure.kind:
            case Kind.ABSENT:
                raise FileNotFoundError(errno.ENOENT, "no such object", url)
            case Kind.PAST_END:
                raise EOFError(f"{url} ends before the bytes that were asked for")
            case Kind.CONFLICT:
                raise Conflict(f"{url} was written by another process in the meantime")
            case Kind.NO_BUCKET:
                raise BucketError(
                    f"{url}: the bucket {self._bucket_url} does not exist; create it, or correct its name"
                )
            case Kind.DENIED:
                raise BucketError(f"{url}: access denied ({failure.text}). {self._denied}")
            case Kind.INVALID_NAME:
                raise BucketError(
                    f"{url}: the object name {failure.text} has an empty part, '.' or '..', which the client of this "
                    "store does not accept: copy the object to another name, or use a folder without it"
                )
            case Kind.REFUSED:
                raise BucketError(f"{url}: the store refuses the request ({failure.text}). {self._unreachable}")
        raise Unreachable(
            f"{url}: the store cannot be reached ({failure.text}; {tries}). Finished work is kept. {self._unreachable}"
        )
