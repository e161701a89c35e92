"""Configuration files: TOML whose keys are option names, with a table for every dotted prefix.

    context = [4096]

    [decode]
    fps = 4.0

tomllib reads; writing has comments, which the libraries for writing TOML either lack or keep in a document of their
own.
"""

from __future__ import annotations

import difflib
import json
import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pipeline.cli.options import NONE, Option, Scalar, Value
from schemas.errors import UsageError
from schemas.files import read_toml
from schemas.printable import printable

_WIDTH = 100


def read_config(path: Path, options: Iterable[Option]) -> dict[str, Value]:
    """Return the values in a configuration file by option name.

    Raises UsageError for a file that cannot be read, an unknown key (with the nearest one), or a value of a wrong type.
    """
    try:
        tables = read_toml(path)
    except OSError as e:
        raise UsageError(f"--config {path} cannot be read: {e.strerror}") from e
    except ValueError as e:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise UsageError(f"--config {path} is not valid TOML: {e}") from e
    return option_values(tables, options, where=f"--config {path}")


def option_values(tables: Mapping[str, object], options: Iterable[Option], *, where: str) -> dict[str, Value]:
    """Return the values in TOML tables by option name; `where` begins the messages of errors.

    Raises UsageError for an unknown key, with the nearest one, or a value of a wrong type.
    """
    known = {option.name: option for option in options}
    return {name: checked(known[name], value, where) for name, value in _flat(tables, known, where, ())}


def _flat(
    tables: Mapping[str, object], known: Mapping[str, Option], where: str, above: tuple[str, ...]
) -> Iterator[tuple[str, object]]:
    for key, value in tables.items():
        names = (*above, key.replace("_", "-"))
        name = ".".join(names)
        if name in known:
            yield name, value
        elif isinstance(value, dict) and any(other.startswith(f"{name}.") for other in known):
            yield from _flat(value, known, where, names)
        else:
            tables_known = {".".join(option.table) for option in known.values()} if isinstance(value, dict) else set()
            near = difflib.get_close_matches(name, [*known, *tables_known], n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
            raise UsageError(f"{where}: unknown key {name!r}; {hint}")


def checked(option: Option, value: object, where: str) -> Value:
    """Return `value`. Raises UsageError that names the key, the value and the expected type if it does not fit."""
    if option.is_mapping:
        fits = isinstance(value, dict) and all(_is_number(number) for number in value.values())
    elif option.is_list:
        fits = isinstance(value, list) and all(_fits(option, element) for element in value)
    else:
        fits = _fits(option, value) or (option.is_optional and value == NONE)
    if not fits:
        raise UsageError(f"{where}: {option.name} must be {option.expected}, got {_spell(value)}")
    return value  # type: ignore[return-value]  # `fits` has checked it


def _fits(option: Option, value: object) -> bool:
    if option.choices:
        return value in option.choices
    if option.element is float:
        return _is_number(value)
    if option.element is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, bool if option.element is bool else str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _spell(value: object) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


def write_config(options: Iterable[Option], values: Mapping[str, Value | None], *, title: str) -> str:
    """Return a configuration file: every option with its description as a comment, options without a value as well."""
    blocks: dict[tuple[str, ...], list[str]] = {(): [f"# {title}"]}
    for option in options:
        block = blocks.get(option.table)
        if block is None:
            block = blocks[option.table] = ["", *_comment(option.section), f"[{'.'.join(map(_key, option.table))}]"]
        block += ["", *_comment(option.help)]
        value = values.get(option.name)
        if value is None:
            block.append(f"# {_key(option.key)} =  # {_unset(option)}")
        else:
            block.append(f"{_key(option.key)} = {spelled(value)}")
    return "\n".join(line for block in blocks.values() for line in block).lstrip("\n") + "\n"


def _unset(option: Option) -> str:
    what = "not set" if option.default is None else "required"
    return f"{what}: {option.expected}"


def _comment(text: str) -> list[str]:
    paragraph = " ".join(text.split())
    return textwrap.wrap(paragraph, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def spelled(value: Value) -> str:
    """Return a value in TOML's notation."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_number(number)}" for key, number in value.items()) + "}"
    return f"[{', '.join(map(_number, value))}]" if isinstance(value, list) else _number(value)


def _number(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else {math.inf: "inf", -math.inf: "-inf"}.get(value, "nan")
    if isinstance(value, int):
        return str(value)
    return _text(value)


def _key(name: str) -> str:
    is_bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if is_bare else _text(name)


def _text(text: str) -> str:
    return printable(json.dumps(text, ensure_ascii=False))  # JSON's escapes are TOML's
