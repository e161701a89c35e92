"""A count with its noun, as messages and reports print it."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return a count and its noun in the singular or the plural: `1 item`, `2,000 items`, `0 copies`.

    `plural` is needed where it is not the noun with an s; the noun can have adjectives before it.
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def counted_fact(count: int, name: str) -> str:
    """Return a count and the name of what was counted, whose first word loses its s after 1: `1 sequence in val`."""
    noun, _, rest = name.partition(" ")
    return " ".join(filter(None, [counted(count, noun.removesuffix("s"), noun), rest]))


def few_digits(value: float) -> str:
    """Return two significant digits without an exponent: `0.42`, `4.2`, `42`, `4,200`."""
    return f"{float(f'{value:.2g}'):,.10g}"
