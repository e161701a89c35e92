"""The registry of item kinds: the kinds of this project, and those that other packages register.

A kind is found by name and loaded when it is first needed, so that the modules of the jobs do not import those of the
kinds. To add a kind, write its module next to this one and add a line to `_BUILT_IN`; from another package, register an
entry point in the group `longreel.kinds` that names a kind object.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.kinds.kind import ItemKind
from schemas.errors import ConfigError

GROUP = "longreel.kinds"
_BUILT_IN = {
    "video": "pipeline.kinds.video:VIDEO",
    "image": "pipeline.kinds.image:IMAGE",
    "book": "pipeline.kinds.book:BOOK",
    "qa": "pipeline.kinds.qa:QA",
}


@functools.cache
def kinds() -> Mapping[str, ItemKind]:
    """Return all kinds by name: the built-in ones first, then the registered ones by name.

    Raises ConfigError if a registered kind cannot be loaded, or takes the name or a file ending of another one.
    """
    found = {name: _load(name) for name in _BUILT_IN}
    for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name):
        try:
            kind: ItemKind = entry.load()
        except Exception as e:
            raise ConfigError(f"the item kind {entry.name!r} ({entry.value}) cannot be loaded: {e!r}") from e
        _require_new(kind, found)
        found[kind.name] = kind
    return found


def kind_of(name: str) -> ItemKind:
    """Return a kind by name; raises ConfigError for an unknown one."""
    if name in _BUILT_IN:
        return _load(name)  # without the libraries of the others
    try:
        return kinds()[name]
    except KeyError as e:
        raise ConfigError(f"unknown item kind {name!r}; known are {', '.join(kinds())}") from e


def is_kind(name: str) -> bool:
    """Return whether there is a kind with this name."""
    return name in _BUILT_IN or name in kinds()


def kind_of_file(name: str) -> ItemKind | None:
    """Return the kind that the ending of a path or address belongs to, None if there is none."""
    if name.lower().startswith(("http://", "https://")):
        name = urlsplit(name).path  # without a query, as in signed addresses
    suffixes = Path(name.lower()).suffixes
    endings = _by_ending()
    return endings.get("".join(suffixes[-2:])) or endings.get("".join(suffixes[-1:]))


def names_of_text_kinds() -> tuple[str, ...]:
    """Return the names of the kinds whose items are text."""
    return tuple(name for name, kind in kinds().items() if kind.is_text)


def names_of_splittable_kinds() -> tuple[str, ...]:
    """Return the names of the kinds whose documents may be split at any token."""
    return tuple(name for name, kind in kinds().items() if kind.is_splittable)


@functools.cache
def _by_ending() -> Mapping[str, ItemKind]:
    return {ending: kind for kind in kinds().values() for ending in kind.endings}


@functools.cache
def _load(built_in: str) -> ItemKind:
    module, name = _BUILT_IN[built_in].split(":")
    kind: ItemKind = getattr(importlib.import_module(module), name)
    return kind


def _require_new(kind: ItemKind, known: Mapping[str, ItemKind]) -> None:
    taken = {ending for other in known.values() for ending in other.endings}
    if kind.name in known or taken.intersection(kind.endings):
        raise ConfigError(f"the item kind {kind.name!r} takes the name or a file ending of another kind")
