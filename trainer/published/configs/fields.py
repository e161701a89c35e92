"""Typed reading of a published configuration; every wrong value is a ConfigError that names its field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.errors import ConfigError

_MAX_SIZE = 1 << 40


class Fields:
    """The values of a JSON object or of GGUF metadata. A null is read as if the field were missing."""

    def __init__(self, values: Mapping[str, Any], *, prefix: str = "") -> None:
        self._values, self._prefix = values, prefix

    def has(self, name: str) -> bool:
        """Whether the field has a value."""
        return self._values.get(self._prefix + name) is not None

    def size(self, name: str, default: int | None = None) -> int:
        """Return a positive integer."""
        value = self._get(name, default)
        if type(value) is not int or not 0 < value < _MAX_SIZE:
            raise self._wrong(name, "a positive integer", value)
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """Return a finite number."""
        value = self._get(name, default)
        if type(value) not in (int, float) or not abs(value) < float("inf"):
            raise self._wrong(name, "a number", value)
        return float(value)

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a Boolean."""
        value = self._get(name, default)
        if type(value) is not bool:
            raise self._wrong(name, "true or false", value)
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """Return a string."""
        value = self._get(name, default)
        if type(value) is not str:
            raise self._wrong(name, "a string", value)
        return value

    def numbers(self, name: str) -> tuple[float, ...]:
        """Return a list of numbers."""
        value = self._get(name, None)
        if not isinstance(value, list) or not all(type(x) in (int, float) for x in value):
            raise self._wrong(name, "a list of numbers", value)
        return tuple(float(x) for x in value)

    def first_id(self, name: str) -> int | None:
        """Return a token id, or the first of a list of them; None if there is none."""
        value = self._values.get(self._prefix + name)
        value = value[0] if isinstance(value, list) and value else value
        if value is None or value == []:
            return None
        if type(value) is not int or not 0 <= value < _MAX_SIZE:
            raise self._wrong(name, "a token id", value)
        return value

    def below(self, name: str) -> Fields:
        """Return the fields of an object in a field; none if it is missing."""
        value = self._values.get(self._prefix + name)
        if value is not None and not isinstance(value, Mapping):
            raise self._wrong(name, "an object", value)
        return Fields(value or {})

    def names(self) -> list[str]:
        """Return the names of the fields."""
        return list(self._values)

    def _get(self, name: str, default: Any) -> Any:
        value = self._values.get(self._prefix + name)
        if value is None and default is None:
            raise ConfigError(f"the field {self._prefix}{name} is missing")
        return default if value is None else value

    def _wrong(self, name: str, expected: str, value: Any) -> ConfigError:
        shown = f"{value!r:.80}" if isinstance(value, int | float | str) else f"a {type(value).__name__}"
        return ConfigError(f"{self._prefix}{name} must be {expected}, got {shown}")
