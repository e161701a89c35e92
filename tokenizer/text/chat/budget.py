"""What one rendering of a chat template may make: characters and items, counted before or when they are made.

Jinja can double a text or a list in every step of a loop, and nested lists that share their parts grow in the same way
when they are written or compared. So each value has a size, that of all its parts as if none was shared, and a limit;
and a rendering has a limit for the sum of all values.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from jinja2 import Undefined

MOST_CHARS = 1 << 24  # of one value, and of the output
_MOST_MADE = 1 << 28  # of all values together
_ITEM = 16  # size of an item of a list, in characters
_LARGEST_NUMBER = 1 << 63
_PLAIN = (str, int, float, Undefined, type(None))


class TemplateLimitError(Exception):
    """A template needs more time or memory than a chat can need."""


class Budget:
    """The time, characters and items that are left for one rendering."""

    def __init__(self) -> None:
        self.start(0)

    def start(self, seconds: float) -> None:
        """Begin a rendering that may take so long."""
        self._seconds, self._deadline = seconds, time.monotonic() + seconds
        self._left = _MOST_MADE
        self._sizes: dict[int, tuple[Any, int]] = {}  # of containers, which no template can change; kept alive

    def tick(self) -> None:
        """Raise TemplateLimitError after the deadline."""
        if time.monotonic() > self._deadline:
            raise TemplateLimitError(f"it takes more than {self._seconds:.0f} s")

    def spend(self, size: int) -> None:
        """Count a text or other value that is made; raises TemplateLimitError if it is too large."""
        self.tick()
        self.require(size)
        self._left -= size
        if self._left < 0:
            raise TemplateLimitError(f"it makes texts of more than {_MOST_MADE:,} characters in all")

    def require(self, size: int) -> None:
        """Raise TemplateLimitError for the size of a value that is too large."""
        if size > MOST_CHARS:
            raise TemplateLimitError(f"it makes a text of more than {MOST_CHARS:,} characters")

    def made(self, value: Any) -> Any:
        """Return a value that an operator, filter, function or literal has made, and count it."""
        if isinstance(value, str):
            self.spend(len(value))
        elif isinstance(value, list | tuple | dict):
            self.require(self.size(value))
            self.spend(_ITEM * len(value))
        elif isinstance(value, int):
            self.check_number(value)
        return value

    def size(self, value: Any) -> int:
        """Return the number of characters of a value, of which an item of a list is worth some.

        Raises TemplateLimitError for objects other than JSON has, whose text may have any length.
        """
        if isinstance(value, str):
            return len(value)
        if isinstance(value, _PLAIN):
            return 1
        if not isinstance(value, list | tuple | dict):
            raise TemplateLimitError(f"it writes a {type(value).__name__}, or puts it into a list")
        if id(value) not in self._sizes:
            self._sizes[id(value)] = value, _ITEM * len(value) + sum(map(self.size, _parts(value)))
        return self._sizes[id(value)][1]

    def iterated(self, values: Iterable[Any]) -> Iterator[Any]:
        """Yield values, and count their texts."""
        for value in values:
            self.spend(_ITEM + self.size(value))
            yield value

    def check_replacement(self, text: str, old: str, new: str) -> None:
        """Raise TemplateLimitError if `text` with all `old` replaced is too large."""
        self.require(len(text) + (text.count(old) + 1) * len(new))

    def check_number(self, value: int) -> None:
        """Raise TemplateLimitError for a number that takes long to compute with."""
        if abs(value) > _LARGEST_NUMBER:
            raise TemplateLimitError("it computes with a huge number")


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.keys()
        yield from value.values()
    else:
        yield from value
