"""The options of a command, derived from its dataclass exactly as tyro derives the command line.

tyro parses; this module names. It gives every leaf field its option name (`decode.fps`), its type, default and
description, so that configuration files, the workspace's settings and shell completion use the names that the command
line has. A test compares the names with what tyro accepts.
"""

from __future__ import annotations

import dataclasses
import os
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from tyro._docstrings import get_callable_description, get_field_docstring
from tyro.conf import OmitArgPrefixes, Positional, UseAppendAction

from schemas.storage.location import Location
from schemas.storage.option import Output

Scalar = bool | int | float | str
Value = Scalar | list[Scalar] | dict[str, Scalar]  # what TOML holds
NONE = "None"  # how the command line spells it
_known: dict[type, tuple[Option, ...]] = {}  # of each command and configuration, with its own defaults
TRANSIENT = (
    "config",
    "log-level",
    "log-format",
    "reconfigure",
)  # options that say how to take the others; no configuration file has them


@dataclass(frozen=True, kw_only=True)
class Option:
    """One leaf field of a command."""

    name: str  # as on the command line, without dashes in front: decode.fps, text-tokenizer
    path: tuple[str, ...]  # the attributes that lead to the value
    annotation: Any  # the type, without tyro's markers
    default: object  # dataclasses.MISSING if required
    help: str
    section: str  # description of the dataclass that owns the field
    positional: bool
    repeated: bool  # given once per element
    metavar: str | None
    output: Output | None  # what it names that the command writes

    @property
    def table(self) -> tuple[str, ...]:
        """The TOML table of the option."""
        return tuple(self.name.split(".")[:-1])

    @property
    def key(self) -> str:
        """The key of the option in its table."""
        return self.name.split(".")[-1]

    @property
    def flags(self) -> tuple[str, ...]:
        """What is written on the command line; none for a positional argument."""
        if self.positional:
            return ()
        off = ".".join([*self.table, f"no-{self.key}"])
        return (f"--{self.name}", f"--{off}") if self.annotation is bool else (f"--{self.name}",)

    @property
    def element(self) -> Any:
        """The type of one value: of an element for tuples, of what is not None for optional values."""
        members = [member for member in _members(self.annotation) if member is not type(None)]
        element = get_args(members[0])[0] if get_origin(members[0]) is tuple else members[0]
        return get_args(element)[0] if get_origin(element) is Annotated else element

    @property
    def is_optional(self) -> bool:
        """Whether None is a value."""
        return type(None) in _members(self.annotation)

    @property
    def is_list(self) -> bool:
        """Whether the value has any number of elements."""
        return get_origin(self.annotation) is tuple

    @property
    def is_mapping(self) -> bool:
        """Whether the value maps names to numbers."""
        origin = get_origin(self.annotation)
        return isinstance(origin, type) and issubclass(origin, Mapping)

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of a Literal, else nothing."""
        return tuple(map(str, get_args(self.element))) if get_origin(self.element) is Literal else ()

    @property
    def expected(self) -> str:
        """The type in words, for messages and metavars."""
        if self.is_mapping:
            return "a table of numbers"
        words = {bool: "true or false", int: "an integer", float: "a number", str: "a string", Path: "a path"}
        words |= {Location: "a path or URL"}
        one = f"one of {', '.join(self.choices)}" if self.choices else words.get(self.element, str(self.element))
        return f"a list, each element {one}" if self.is_list else one

    def value_of(self, command: object) -> object:
        """Return the value in an instance."""
        for name in self.path:
            command = getattr(command, name)
        return command

    def to_toml(self, value: object) -> Value | None:
        """Return `value` as TOML holds it; None where the key is left out, which means that the default is None."""
        if value is None:
            return None if self.default is None else NONE
        if isinstance(value, Mapping):
            return {str(key): float(number) for key, number in value.items()}
        return [self._scalar(element) for element in value] if isinstance(value, tuple) else self._scalar(value)

    def _scalar(self, value: object) -> Scalar:
        if isinstance(value, bool | int | float):
            return float(value) if self.element is float else value
        return os.fsencode(str(value)).decode("utf-8", "replace")  # a path may hold bytes that are no UTF-8

    def to_arguments(self, value: Value) -> list[str]:
        """Return the command-line arguments that give `value`."""
        if isinstance(value, bool) and self.annotation is bool:
            return [self.flags[0 if value else 1]]
        if isinstance(value, dict):
            words = [word for key, number in value.items() for word in (key, str(number))]
        else:
            words = list(map(str, value)) if isinstance(value, list) else [str(value)]
        if self.positional:
            return words
        if self.repeated:
            return [argument for word in words for argument in self._pair(word)]
        return self._pair(words[0]) if not self.is_list and not self.is_mapping else [f"--{self.name}", *words]

    def _pair(self, word: str) -> list[str]:
        return [f"--{self.name}={word}"] if word.startswith("-") else [f"--{self.name}", word]


def options_of(command_class: type[Any], instance: object = None) -> list[Option]:
    """Return the options of a command or of a configuration, in the order of `--help`; defaults from `instance`."""
    if instance is not None:
        return list(_walk(command_class, instance, (), ()))
    if command_class not in _known:
        _known[command_class] = tuple(_walk(command_class, None, (), ()))
    return list(_known[command_class])


def _walk(owner: type[Any], instance: object, names: tuple[str, ...], path: tuple[str, ...]) -> Iterator[Option]:
    nested: list[tuple[type, object, tuple[str, ...], tuple[str, ...]]] = []
    for field, annotation, markers in fields_of(owner):
        default = default_of(field, instance)
        if is_configuration(annotation):
            inner = names if _is_flat(markers) else (*names, field.name.replace("_", "-"))
            nested.append((annotation, None if default is MISSING else default, inner, (*path, field.name)))
            continue
        config = next((marker for marker in markers if hasattr(marker, "metavar") and hasattr(marker, "help")), None)
        yield Option(
            name=".".join([*names, field.name.replace("_", "-")]),
            path=(*path, field.name),
            annotation=annotation,
            default=default,
            help=_sentence(_help(owner, field.name) or (config and config.help) or ""),
            section=get_callable_description(owner).split("\n\n")[0] if path else "",
            positional=_POSITIONAL in markers,
            repeated=_REPEATED in markers,
            metavar=config.metavar if config else None,
            output=next((marker for marker in _all_markers(annotation, markers) if isinstance(marker, Output)), None),
        )
    for annotation, default, inner, inner_path in nested:
        yield from _walk(annotation, default, inner, inner_path)


def fields_of(owner: type[Any]) -> Iterator[tuple[dataclasses.Field[Any], Any, tuple[Any, ...]]]:
    """Yield every field of a dataclass with its type and tyro's markers."""
    hints = get_type_hints(owner, include_extras=True)
    for field in dataclasses.fields(owner):
        yield field, *_split(hints[field.name])


def is_configuration(annotation: Any) -> bool:
    """Return whether a field has options of its own; a location is one value."""
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation) and annotation is not Location


def default_of(field: dataclasses.Field[Any], instance: object) -> object:
    """Return the value in `instance`, else the default, else MISSING."""
    if instance is not None:
        return getattr(instance, field.name)
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _split(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    return (hint.__origin__, hint.__metadata__) if hasattr(hint, "__metadata__") else (hint, ())


def _all_markers(annotation: Any, markers: tuple[Any, ...]) -> Iterator[Any]:
    """Yield the markers of a type, and of the types that it is a union of."""
    yield from markers
    for member in _members(annotation):
        if hasattr(member, "__metadata__"):
            yield from member.__metadata__


_POSITIONAL = _split(Positional[int])[1][0]
_REPEATED = _split(UseAppendAction[int])[1][0]
_FLAT = _split(OmitArgPrefixes[int])[1][0]


def _is_flat(markers: tuple[Any, ...]) -> bool:
    return _FLAT in markers or any(getattr(marker, "name", None) == "" for marker in markers)


def _members(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (types.UnionType, typing.Union) else (annotation,)


def _sentence(text: str) -> str:
    """Return a description as one paragraph; one that is a comment in the source has no capital and no period."""
    text = " ".join(text.split())
    text = text[:1].upper() + text[1:]
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."


def _help(owner: type, name: str) -> str | None:
    return get_field_docstring(owner, name, ())
