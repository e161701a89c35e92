"""The command `config`: the effective configuration of another command, as a file for its option `--config`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass

from tyro.conf import Positional

from pipeline.cli.options import Option, Value, options_of
from pipeline.cli.parse import build, file_options, given_options, layered, take_config, with_values
from pipeline.cli.subcommands import SUBCOMMANDS, unknown_subcommand
from pipeline.cli.toml import write_config
from schemas.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Config:
    """Print the effective configuration of a command as TOML, with a comment for every option.

    Usage: longreel config COMMAND [options of COMMAND] [--config FILE]

    The command does not run. A value comes from the options, else from the file, else from the configuration of the
    workspace, else it is the default. The output can be given to the command as its --config.
    """

    command: Positional[str]
    """Name of the command. All its options may follow; required ones may be missing."""

    def __call__(self, options: tuple[str, ...]) -> None:
        """Print the file; `options` are those of the other command."""
        print(effective_config(self.command, options), end="")


def effective_config(name: str, arguments: Sequence[str]) -> str:
    """Return the configuration file that has the same effect as the arguments of the command `name`."""
    if name not in SUBCOMMANDS:
        raise UsageError(unknown_subcommand(name))
    command_class = SUBCOMMANDS[name].load()
    options = file_options(command_class)
    arguments, config = take_config([argument for argument in arguments if argument not in ("-h", "--help")])
    given = given_options(options_of(command_class), arguments)
    values = layered(command_class, options, given, config)
    missing = [o for o in options if o.default is MISSING and o.name not in given and o.name not in values]
    stand_ins = {option.name: _stand_in(option) for option in missing}
    command = build(
        command_class, with_values(options, given, values | stand_ins, arguments), f"longreel config {name}"
    )
    found = {o.name: None if o in missing else o.to_toml(o.value_of(command)) for o in options}
    return write_config(options, found, title=f"longreel {name} --config THIS_FILE")


def _stand_in(option: Option) -> Value:
    """Return a value for a required option that is not given, so that the others can be parsed."""
    if option.is_list:
        return []
    if option.choices:
        return option.choices[0]
    return {bool: False, int: 1, float: 1.0}.get(option.element, "x")
