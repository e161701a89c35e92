"""Checks values that were read from a file against the declared types of a dataclass."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def require_types(cls: type, values: Mapping[str, Any]) -> None:
    """Raise TypeError, which names the field and the value, unless every value is of the type of its field.

    Integers count as floats. Fields that `cls` does not have, and types other than the plain ones (numbers, strings,
    literals, tuples, optional ones), are left to its constructor.
    """
    hints = get_type_hints(cls)
    for name, value in values.items():
        if name in hints and not _has_type(value, hints[name]):
            shown = f"{value!r:.80}" if isinstance(value, int | float | str | None) else f"a {type(value).__name__}"
            raise TypeError(f"{name} = {shown}, which is not of the type {hints[name]}")


def _has_type(value: Any, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return any(value is one or (type(value) is type(one) and value == one) for one in arguments)
    if origin in (Union, types.UnionType):
        return any(_has_type(value, one) for one in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and _has_types(value, arguments)
    if hint in (int, float):
        return type(value) is int or (hint is float and type(value) is float)
    if hint in (bool, str, types.NoneType):
        return type(value) is hint
    return True


def _has_types(values: tuple[Any, ...], hints: tuple[Any, ...]) -> bool:
    if len(hints) == 2 and hints[1] is ...:
        return all(_has_type(value, hints[0]) for value in values)
    return len(values) == len(hints) and all(map(_has_type, values, hints))
