"""Values that all workers of a job need and that grow with the corpus: an object of the store, read once a process.

What a pipeline carries is sent to every worker, and for a template is part of the job description, which must stay
small. It carries where the object is, and its SHA-256, so that nothing is unpickled but what this driver wrote.
"""

from __future__ import annotations

import functools
import hashlib
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from schemas.errors import DatasetError
from schemas.storage.location import Location

T = TypeVar("T")
_HELD: dict[StoredValue[Any], Any] = {}  # those that this process wrote, for workers that are its threads


@dataclass(frozen=True)
class StoredValue(Generic[T]):
    """Where a value is; `get` it where it is used."""

    location: Location
    sha256: str

    def get(self) -> T:
        """Return the value, which must not be changed; raises DatasetError if the object is not the one written."""
        value: T = _HELD[self] if self in _HELD else _load(self)
        return value

    def method(self, name: str) -> Callable[..., Any]:
        """Return a function that calls a method of the value."""
        return _Method(self, name)


@contextmanager
def stored(folder: Location, value: T) -> Iterator[StoredValue[T]]:
    """Write a value as an object of `folder` while the body runs a job."""
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    digest = hashlib.sha256(data).hexdigest()
    place = StoredValue[T](folder / f"value-{digest[:16]}.pickle", digest)
    place.location.write(data)
    _HELD[place] = value
    try:
        yield place
    finally:
        del _HELD[place]
        place.location.delete()


@functools.lru_cache(maxsize=2)
def _load(place: StoredValue[Any]) -> Any:
    data = place.location.read()
    if hashlib.sha256(data).hexdigest() != place.sha256:
        raise DatasetError(f"{place.location} was changed while a job used it; run the same command again")
    return pickle.loads(data)  # noqa: S301 - the pipeline has its hash


@dataclass(frozen=True)
class _Method:
    place: StoredValue[Any]
    name: str

    def __call__(self, *arguments: Any) -> Any:
        return getattr(self.place.get(), self.name)(*arguments)
