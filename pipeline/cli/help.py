"""What `--help` shows of a command: the same options with descriptions and placeholders that read well.

tyro keeps some line breaks of indented docstrings, writes `{None}|PATH` for optional values and `(default: )` for empty
ones. So help is printed for a dataclass of the same shape, in which both are spelled out. It is never instantiated.
"""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING
from pathlib import Path
from typing import Annotated, Any

import tyro

from pipeline.cli.options import Option, default_of, fields_of, options_of
from schemas.storage.location import Location

_WORDS = {bool: "{True,False}", int: "INT", float: "FLOAT", str: "TEXT", Path: "PATH", Location: "PATH|URL"}


def described(owner: type[Any], instance: object = None) -> type[Any]:
    """Return a dataclass that has the options of `owner`, for its help; defaults from `instance`."""
    options = {option.path[0]: option for option in options_of(owner, instance) if len(option.path) == 1}
    made: list[tuple[str, Any, Any]] = []
    for field, annotation, markers in fields_of(owner):
        default = default_of(field, instance)
        if field.name in options:
            kept = tuple(marker for marker in markers if not hasattr(marker, "help"))
            made.append((field.name, _annotated(annotation, kept, options[field.name]), _field(default)))
        else:
            inner = described(annotation, None if default is MISSING else default)
            nested = dataclasses.field() if default is MISSING else dataclasses.field(default_factory=inner)
            made.append((field.name, _with(inner, markers), nested))
    # dataclasses would take milliseconds for a docstring and for each method that compares or prints.
    namespace = {"__doc__": owner.__doc__}
    return dataclasses.make_dataclass(
        owner.__name__, made, namespace=namespace, kw_only=True, frozen=True, eq=False, repr=False
    )


def _field(default: object) -> Any:
    return dataclasses.field() if default is MISSING else dataclasses.field(default_factory=lambda: default)


def _annotated(annotation: Any, markers: tuple[Any, ...], option: Option) -> Any:
    hint = "" if option.default in (None, (), {}) else None  # None leaves it to tyro: (default: 4), (required)
    if option.positional and option.is_list and option.default is MISSING:
        hint = "(required)"
    config = tyro.conf.arg(help=option.help, metavar=option.metavar or _metavar(option), help_behavior_hint=hint)
    return _with(annotation, (*markers, config))


def _metavar(option: Option) -> str | None:
    if option.annotation is bool:
        return None
    if option.positional:
        return option.key.upper()
    if option.is_mapping:
        return "NAME NUMBER ..."
    word = "{" + ",".join(option.choices) + "}" if option.choices else _WORDS.get(option.element, "VALUE")
    return f"{word} ..." if option.is_list and not option.repeated else word


def _with(annotation: Any, markers: tuple[Any, ...]) -> Any:
    for marker in markers:
        annotation = Annotated[annotation, marker]
    return annotation
