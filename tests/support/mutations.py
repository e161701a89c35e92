"""Random damage of files, reproducible from a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any


def cut(data: bytearray, rng: random.Random) -> None:
    """Remove the end."""
    del data[rng.randrange(1, len(data)) :]


def flip(data: bytearray, rng: random.Random) -> None:
    """Flip bits anywhere."""
    for _ in range(rng.choice((1, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_header(data: bytearray, rng: random.Random) -> None:
    """Replace bytes of the first 512."""
    for _ in range(rng.choice((1, 4, 16))):
        data[rng.randrange(min(512, len(data)))] = rng.randrange(256)


def fill(data: bytearray, rng: random.Random) -> None:
    """Replace a range by zeros or by random bytes."""
    start, length = rng.randrange(len(data)), rng.randrange(1, 400)
    data[start : start + length] = rng.choice((bytes, rng.randbytes))(len(data[start : start + length]))


def drop(data: bytearray, rng: random.Random) -> None:
    """Remove a range."""
    start = rng.randrange(len(data))
    del data[start : start + rng.randrange(1, 400)]


def repeat(data: bytearray, rng: random.Random) -> None:
    """Repeat a range."""
    start, length = rng.randrange(len(data)), rng.randrange(1, 400)
    data[start:start] = data[start : start + length] * rng.choice((1, 20))


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (cut, flip, flip_header, fill, drop, repeat)


def mutate(whole: bytes, seed: int) -> bytes:
    """Return `whole`, which has at least two bytes, with one kind of damage."""
    rng, data = random.Random(seed), bytearray(whole)
    MUTATIONS[seed % len(MUTATIONS)](data, rng)
    return bytes(data)


_VALUES: tuple[Any, ...] = (None, True, -1, 0, 1, 3, 0.5, 1e308, 1 << 70, "", "x", "../x", [], [7], {}, {"x": 1}, [[]])
_DEEP = "nested lists, more than the JSON module of Python can write"


def mutate_json(whole: bytes, seed: int) -> bytes:
    """Return a JSON object in which one value, anywhere, is replaced by one of another type or size, or is missing."""
    rng, tree = random.Random(seed), json.loads(whole)
    places = list(_places(tree))
    parent, key = places[rng.randrange(len(places))]
    if rng.random() < 0.15:
        del parent[key]
    else:
        parent[key] = rng.choice([*_VALUES, _DEEP])
    return json.dumps(tree).replace(json.dumps(_DEEP), "[" * 2000 + "]" * 2000).encode()


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield container and key of every value."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in pairs:
        yield tree, key
        yield from _places(value)
