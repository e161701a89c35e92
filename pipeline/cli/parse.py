"""From arguments to a command: the command line wins over `--config FILE`, that over the workspace, that over defaults.

tyro builds the command. What the file and the workspace say of options that are not on the command line is put into
arguments, so that all three ways are parsed and checked alike.
"""

from __future__ import annotations

import dataclasses
import io
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from pathlib import Path
from typing import Annotated, Any

import tyro

from pipeline.cli.help import described
from pipeline.cli.options import TRANSIENT, Option, Value, options_of
from pipeline.cli.places import check_places
from pipeline.cli.settings import recorded_values
from pipeline.cli.toml import read_config
from schemas.errors import ConfigError, UsageError
from schemas.printable import printable
from schemas.runs.messages import Format, Level, messages

_LOG_LEVEL = Annotated[
    Level,
    tyro.conf.arg(help="Least level of the messages on stderr; with `debug`, also those of JAX, Beam and Orbax."),
]
_LOG_FORMAT = Annotated[
    Format, tyro.conf.arg(help="Messages on stderr as text, or as JSON lines with the fields of docs/logging.md.")
]
_CONFIG_HELP = (
    "A TOML file with options: the keys are their names, with a table for each prefix ([decode] fps = 4). Options on "
    "the command line win. `longreel config COMMAND` prints such a file."
)


def parse(command_class: type, arguments: Sequence[str], *, prog: str) -> Any:
    """Return the command. Raises UsageError for a wrong configuration file; exits like tyro on wrong usage or help."""
    if {"-h", "--help"} & set(arguments):
        return build(described(command_class), arguments, prog)
    options = file_options(command_class)
    arguments, config = take_config(arguments)
    given = given_options(options_of(command_class), arguments)
    values = layered(command_class, options, given, config)
    return build(command_class, with_values(options, given, values, arguments), prog)


def file_options(command_class: type) -> list[Option]:
    """Return the options that a configuration file may have."""
    return [option for option in options_of(command_class) if option.name not in TRANSIENT]


def layered(
    command_class: type, options: Sequence[Option], given: Mapping[str, Sequence[str]], config: Path | None
) -> dict[str, Value]:
    """Return the values that come from the configuration file and the workspace."""
    values = read_config(config, options) if config else {}
    return recorded_values(command_class, options, given, values) | values


def with_values(
    options: Sequence[Option], given: Mapping[str, Sequence[str]], values: Mapping[str, Value], arguments: Sequence[str]
) -> list[str]:
    """Return the arguments, completed by `values` for options that are not given."""
    before, after = list[str](), list[str]()
    for option in options:
        if option.name in values and option.name not in given:
            (before if option.positional else after).extend(option.to_arguments(values[option.name]))
    return [*before, *arguments, *after]


def take_config(arguments: Sequence[str]) -> tuple[list[str], Path | None]:
    """Split `--config FILE` off. Raises UsageError when the file is missing or named twice."""
    left, files = list[str](), list[str]()
    waiting = iter(arguments)
    for argument in waiting:
        name, equals, value = argument.partition("=")
        if name != "--config":
            left.append(argument)
        elif found := value if equals else next(waiting, ""):
            files.append(found)
        else:
            raise UsageError("--config needs a file")
    if len(files) > 1:
        raise UsageError(f"--config was given {len(files)} times: {', '.join(files)}; give one file")
    if files and (url := re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", files[0])):
        raise UsageError(f"--config takes a path of the file system, got an address with {url[0]}; copy the file")
    return left, Path(files[0]) if files else None


def given_options(options: Sequence[Option], arguments: Sequence[str]) -> dict[str, list[str]]:
    """Return the words that each option was given, by name; positional arguments under the name of the first one."""
    flags = {flag: option for option in options for flag in option.flags}
    positional = next((option for option in options if option.positional), None)
    found: dict[str, list[str]] = {}
    current, room = positional, 0.0
    for argument in arguments:
        name, equals, value = argument.partition("=")
        option = flags.get(name.replace("_", "-"))
        if option is not None:
            found.setdefault(option.name, []).extend([value] if equals else [])
            current, room = option, 0 if equals else _arity(option)
        elif room > 0 and current is not None:
            found[current.name].append(argument)
            room -= 1
        elif positional is not None:
            found.setdefault(positional.name, []).append(argument)
    return found


def _arity(option: Option) -> float:
    if option.is_mapping or (option.is_list and not option.repeated):
        return math.inf
    return 0 if option.annotation is bool else 1


@contextmanager
def _printable_errors() -> Iterator[None]:
    """Escape what tyro prints about wrong usage: it quotes arguments, which may be names that a shell found."""
    printed = io.TextIOWrapper(io.BytesIO(), encoding=getattr(sys.stderr, "encoding", None) or "utf-8")
    try:
        with redirect_stderr(printed):
            yield
    finally:
        printed.seek(0)
        if text := printed.read():
            print(printable(text.rstrip("\n"), keep="\n"), file=sys.stderr)


def _read(shown: type, arguments: Sequence[str], prog: str) -> Any:
    """Call tyro; descriptions that are comments in the source are slow to find, so only where it prints them."""
    with suppress(SystemExit), redirect_stderr(io.StringIO()):
        if not {"-h", "--help"} & set(arguments):
            return tyro.cli(shown, prog=prog, args=list(arguments), config=(tyro.conf.HelptextFromCommentsOff,))
    return tyro.cli(shown, prog=prog, args=list(arguments))


def build(command_class: type, arguments: Sequence[str], prog: str) -> Any:
    """Return the command that tyro makes of the arguments, with `--config` among the options that `--help` shows."""
    config = Annotated[Path | None, tyro.conf.arg(help=_CONFIG_HELP, metavar="FILE", help_behavior_hint="")]
    shown = dataclasses.make_dataclass(
        command_class.__name__,
        [("config", config, None), ("log_level", _LOG_LEVEL, "info"), ("log_format", _LOG_FORMAT, "text")],
        bases=(command_class,),
        namespace={"__doc__": command_class.__doc__},
        kw_only=True,
        frozen=True,
        eq=False,
        repr=False,
    )
    try:
        with _printable_errors():
            command = _read(shown, arguments, prog)
    except ConfigError as e:  # from __post_init__; tyro reports only those of the outermost dataclass
        raise UsageError(str(e)) from e
    for option in options_of(command_class):
        check_places(option, option.value_of(command), is_dry_run=getattr(command, "dry_run", False))
    messages.configure(prog.removeprefix("longreel "), level=command.log_level, format=command.log_format)
    return command
