"""Random words, numbers and identifiers: the facts that are hidden and asked for."""

from __future__ import annotations

import functools
import random
import string
import uuid
from typing import Literal

from wonderwords import RandomWord

Kind = Literal["words", "numbers", "uuids"]


@functools.cache
def nouns() -> tuple[str, ...]:
    """Return English nouns without spaces, sorted."""
    return _words("noun")


@functools.cache
def adjectives() -> tuple[str, ...]:
    """Return English adjectives without spaces, sorted."""
    return _words("adjective")


@functools.cache
def all_words() -> tuple[str, ...]:
    """Return nouns, adjectives and verbs, sorted."""
    return tuple(sorted({*nouns(), *adjectives(), *_words("verb")}))


def fact(kind: Kind, rng: random.Random) -> str:
    """Return a random word pair, number of seven digits, or UUID."""
    match kind:
        case "words":
            return f"{rng.choice(adjectives())}-{rng.choice(nouns())}"
        case "numbers":
            return str(rng.randrange(10**6, 10**7))
        case "uuids":
            return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def distinct(kind: Kind, count: int, rng: random.Random) -> list[str]:
    """Return `count` different facts."""
    found: dict[str, None] = {}
    while len(found) < count:
        found[fact(kind, rng)] = None
    return list(found)


def letters(count: int, rng: random.Random, *, upper: bool) -> str:
    """Return a random string of letters."""
    return "".join(rng.choices(string.ascii_uppercase if upper else string.ascii_lowercase, k=count))


def _words(category: str) -> tuple[str, ...]:
    found = RandomWord().filter(include_categories=[category])
    return tuple(sorted({word.lower() for word in found if word.isalpha() and word.isascii()}))
