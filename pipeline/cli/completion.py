"""The command `completion`: a script for a shell that completes subcommands, options and their choices.

The script is static, since Python takes seconds to import what a subcommand needs. It has the subcommands whose
packages are installed, and everything else completes to file names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from tyro.conf import Positional

from pipeline.cli.options import Option, options_of
from pipeline.cli.subcommands import SUBCOMMANDS
from schemas.errors import ConfigError
from schemas.runs.messages import Format, Level

Shell = Literal["bash", "zsh", "fish"]
Table = Mapping[str, Sequence[Option]]  # the options of each subcommand
_COMMON = ("--help", "--config", "--log-level", "--log-format")


@dataclass(frozen=True, kw_only=True)
class Completion:
    """Print a script that completes the subcommands and options of longreel.

    bash: longreel completion bash > ~/.local/share/bash-completion/completions/longreel

    zsh: longreel completion zsh > FOLDER/_longreel, with a FOLDER that is in $fpath

    fish: longreel completion fish > ~/.config/fish/completions/longreel.fish
    """

    shell: Positional[Shell]
    """The shell: bash, zsh or fish."""

    def __call__(self, options: tuple[str, ...]) -> None:
        """Print the script."""
        print(script(self.shell, installed_options()), end="")


def installed_options() -> dict[str, list[Option]]:
    """Return the options of every subcommand whose packages are installed; of the others none."""
    table: dict[str, list[Option]] = {}
    for name, subcommand in SUBCOMMANDS.items():
        try:
            table[name] = options_of(subcommand.load())
        except ConfigError:
            table[name] = []
    return table


def script(shell: Shell, table: Table) -> str:
    """Return the completion script of a shell."""
    makers: Mapping[str, Callable[[Table], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
    return makers[shell](table)


def _first_words(table: Mapping[str, object]) -> list[str]:
    """Return the words that can follow `longreel`: the names, of those of two words the first."""
    return list(dict.fromkeys(name.split()[0] for name in table))


def _second_words(table: Table) -> dict[str, list[str]]:
    """Return the words that can follow the first word of a name of two words."""
    found: dict[str, list[str]] = {}
    for name in table:
        first, _, second = name.partition(" ")
        if second:
            found.setdefault(first, []).append(second)
    return found


def _flags(options: Sequence[Option]) -> list[str]:
    return [*(flag for option in options for flag in option.flags), *_COMMON]


def _choices(options: Sequence[Option]) -> dict[str, tuple[str, ...]]:
    found = {option.flags[0]: option.choices for option in options if option.choices and option.flags}
    return found | {"--log-level": get_args(Level), "--log-format": get_args(Format)}


def _positional(options: Sequence[Option], name: str) -> str:
    """Return the words that can follow the subcommand: choices of its first positional argument, or subcommands."""
    first = next((option.choices for option in options if option.positional and option.choices), ())
    return " ".join(_first_words(SUBCOMMANDS) if name == "config" else first)


_BASH = """\
# Completion of longreel for bash.
_longreel() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} name=${{COMP_WORDS[1]}} flags="" words=""
    COMPREPLY=()
    if [[ $COMP_CWORD -eq 1 ]]; then
        COMPREPLY=($(compgen -W "{names} --help --version" -- "$cur"))
        return
    fi
    case "$name" in
{second}
    esac
    case "$name $prev" in
{choices}
    esac
    case "$name" in
{flags}
    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$flags" -- "$cur"))
    elif [[ -n $words ]]; then
        COMPREPLY=($(compgen -W "$words" -- "$cur"))
    fi
}}
complete -o default -F _longreel longreel
"""


def _bash(table: Table) -> str:
    choices = [
        f'        "{name} {flag}") COMPREPLY=($(compgen -W "{" ".join(values)}" -- "$cur")); return ;;'
        for name, options in table.items()
        for flag, values in _choices(options).items()
    ]
    flags = [
        f'        "{name}") flags="{" ".join(_flags(options))}"; words="{_positional(options, name)}" ;;'
        for name, options in table.items()
    ]
    second = [
        f"        {first}) if [[ $COMP_CWORD -eq 2 ]]; then "
        f'COMPREPLY=($(compgen -W "{" ".join(words)}" -- "$cur")); return; fi; name="$name ${{COMP_WORDS[2]:-}}" ;;'
        for first, words in _second_words(table).items()
    ]
    names = " ".join(_first_words(table))
    return _BASH.format(names=names, second="\n".join(second), choices="\n".join(choices), flags="\n".join(flags))


_ZSH = """\
#compdef longreel
# Completion of longreel for zsh.
_longreel() {{
    local cur=$words[CURRENT] prev=$words[CURRENT-1] name=$words[2]
    local -a flags others
    if (( CURRENT == 2 )); then
        local -a subcommands=(
{names}
        )
        _describe subcommand subcommands
        return
    fi
    case "$name" in
{second}
    esac
    case "$name $prev" in
{choices}
    esac
    case "$name" in
{flags}
    esac
    if [[ $cur == -* ]]; then
        compadd -a flags
    elif (( $#others )); then
        compadd -a others
    else
        _files
    fi
}}
if [[ $funcstack[1] == _longreel ]]; then
    _longreel "$@"
else
    compdef _longreel longreel
fi
"""


def _zsh(table: Table) -> str:
    second = [
        f'        {first}) if (( CURRENT == 3 )); then compadd {" ".join(words)}; return; fi; name="$name $words[3]" ;;'
        for first, words in _second_words(table).items()
    ]
    names = [f"            {_single(f'{name}:{_summary_of(name, table)}')}" for name in _first_words(table)]
    choices = [
        f'        "{name} {flag}") compadd {" ".join(values)}; return ;;'
        for name, options in table.items()
        for flag, values in _choices(options).items()
    ]
    flags = [
        f'        "{name}") flags=({" ".join(_flags(options))}); others=({_positional(options, name)}) ;;'
        for name, options in table.items()
    ]
    return _ZSH.format(
        names="\n".join(names), second="\n".join(second), choices="\n".join(choices), flags="\n".join(flags)
    )


def _fish(table: Table) -> str:
    lines = ["# Completion of longreel for fish."]
    lines += [
        f"complete -c longreel -n __fish_use_subcommand -f -a {name} -d {_single(_summary_of(name, table))}"
        for name in _first_words(table)
    ]
    for first, seconds in _second_words(table).items():
        lines += [
            f"complete -c longreel -n '__fish_seen_subcommand_from {first}; and not __fish_seen_subcommand_from "
            f"{' '.join(seconds)}' -f -a {word} -d {_single(SUBCOMMANDS[f'{first} {word}'].summary)}"
            for word in seconds
        ]
    for name, options in table.items():
        seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in name.split())
        start = f"complete -c longreel -n '{seen}'"
        if words := _positional(options, name):
            lines.append(f"{start} -f -a {_single(words)}")
        for option in options:
            for flag in option.flags:
                values = f" -x -a {_single(' '.join(option.choices))}" if option.choices else ""
                value = values or ("" if option.annotation is bool else " -r")
                lines.append(f"{start} -l {flag.removeprefix('--')}{value} -d {_single(_summary(option))}")
        lines.append(f"{start} -l config -r -d 'A TOML file with options'")
        lines.append(f"{start} -l log-level -x -a '{' '.join(get_args(Level))}' -d 'Least level of messages'")
        lines.append(f"{start} -l log-format -x -a '{' '.join(get_args(Format))}' -d 'Text or JSON lines'")
    return "\n".join(lines) + "\n"


def _summary_of(name: str, table: Table) -> str:
    """Return the summary of a subcommand, or what the subcommands that begin with a word are."""
    words = _second_words(table).get(name)
    return SUBCOMMANDS[name].summary if words is None else f"one of {', '.join(words)}"


def _summary(option: Option) -> str:
    return option.help.split(". ")[0].rstrip(".")


def _single(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "'\\''") + "'"
