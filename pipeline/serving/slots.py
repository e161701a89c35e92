"""How many requests may run or wait at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.serving.errors import ApiError
from schemas.counted import counted

_RETRY_S = 5


class Slots:
    """Counts the requests from their last byte to the end of the reply; used by one event loop."""

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Use a slot during the block; raises ApiError (429) if there is none."""
        if self.used >= self.limit:
            limit = counted(self.limit, "request")
            message = f"the server is at its limit of {limit}, running or waiting: try again later"
            raise ApiError(429, message, retry_s=_RETRY_S)
        self.used += 1
        try:
            yield
        finally:
            self.used -= 1
