"""Every option that names a file or folder takes an address in a bucket, or refuses it; none makes a folder `s3:`."""

from __future__ import annotations

from dataclasses import MISSING
from pathlib import Path

import pytest

from pipeline.cli.options import Option, options_of
from pipeline.cli.parse import build, parse
from pipeline.cli.subcommands import SUBCOMMANDS
from schemas.errors import ConfigError, UsageError
from schemas.storage.location import Location

ADDRESS = "s3://bucket/folder/file"
PLACES = [
    (name, option)
    for name, row in SUBCOMMANDS.items()
    for option in options_of(row.load())
    if option.element in (Path, Location)
]
MODELS = [(n, o) for n, row in SUBCOMMANDS.items() for o in options_of(row.load()) if o.key == "vision"]


def named(case: tuple[str, Option]) -> str:
    return f"{case[0]} {case[1].name}"


def parsed(name: str, option: Option, value: str) -> object:
    """Return the value of an option of a command, of which required options have harmless values."""
    command_class = SUBCOMMANDS[name].load()
    arguments: dict[str, list[str]] = {}
    for other in options_of(command_class):
        if other.default is MISSING or other.name == option.name:
            word = value if other.name == option.name else other.choices[0] if other.choices else "1"
            arguments[other.name] = [word] if other.positional else [f"--{other.name}", word]
    words = sorted(arguments.values(), key=len)  # positional ones first
    return option.value_of(build(command_class, [word for some in words for word in some], name))


@pytest.mark.parametrize("case", PLACES, ids=named)
def test_an_option_that_names_a_place_takes_an_address_or_refuses_it(
    case: tuple[str, Option], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, option = case
    if option.element is Location:
        value = parsed(name, option, ADDRESS)
        assert Location.parse(ADDRESS) in (value if isinstance(value, tuple) else (value,))
        with pytest.raises((ConfigError, SystemExit)):
            parsed(name, option, "ftp://host/file")
    else:
        with pytest.raises(UsageError, match=r"(file system|local).*s3://|s3://.*(file system|local)"):
            parsed(name, option, ADDRESS)
    assert list(tmp_path.iterdir()) == []


def test_the_file_of_a_configuration_is_local() -> None:
    with pytest.raises(UsageError, match="--config takes a path of the file system, got an address with s3://"):
        parse(SUBCOMMANDS["samples"].load(), ["--out", "x", "--config", ADDRESS], prog="samples")


@pytest.mark.parametrize("case", MODELS, ids=named)
def test_weights_of_an_unknown_scheme_are_refused(case: tuple[str, Option]) -> None:
    name, option = case
    assert parsed(name, option, ADDRESS) == ADDRESS
    if name in ("run", "tokenize"):  # the others load them at once
        with pytest.raises(UsageError, match="unknown scheme ftp://"):
            parsed(name, option, "ftp://host/file")
