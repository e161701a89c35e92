"""A count with its noun, as messages and reports print it."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return a count and its noun in the singular or the plural: `1 item`, `2,000 items`, `0 copies`.

    `plural` is needed where it is not the noun with an s; the noun can have adjectives before it.
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
