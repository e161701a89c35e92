"""Every command of longreel in the documentation and in the demo has options that exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.cli.options import options_of
from pipeline.cli.subcommands import SUBCOMMANDS, split_name

_TOP = Path(__file__).parents[1]
_FILES = [*sorted(_TOP.glob("*.md")), *sorted(_TOP.glob("docs/**/*.md")), *sorted(_TOP.glob("examples/*.sh"))]
_PLACEHOLDERS = {"COMMAND", "SUBCOMMAND", "SUITE", "config", "eval"}  # of a sentence about commands in general
_COMMON = {"--help", "--config", "--log-format", "--log-level", "--version", "--"}


def _commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command: in indented lines, in code spans, and in scripts, with continuation lines."""
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = re.findall(r"(?m)^(?:    |\t)?(?:\$ |srun [^\n]*?|mpirun [^\n]*?)?(longreel [^\n]*)", joined)
    spans = [re.sub(r"\s+", " ", span) for span in re.findall(r"`(longreel [^`]*)`", text)]
    for line in [*lines, *spans]:
        command = re.split(r"\s+(?:#|\||&&|>|2>)(?:\s|$)", line)[0]
        try:
            yield shlex.split(command)[1:]
        except ValueError:  # prose with an apostrophe
            continue


COMMANDS = [
    (f"{path.relative_to(_TOP)}: longreel {' '.join(words)}", words)
    for path in _FILES
    if path.name != "CHANGELOG.md"
    for words in _commands(path.read_text())
    if words and words[0][0].isalpha() and words[0].islower() and words[-1] not in _PLACEHOLDERS
]


def test_commands_are_found_in_the_documents() -> None:
    assert len(COMMANDS) > 60


@pytest.mark.parametrize(("where", "words"), COMMANDS, ids=[where for where, _ in COMMANDS])
def test_a_documented_command_has_options_that_exist(where: str, words: list[str]) -> None:
    name, rest = split_name(words)
    assert name in SUBCOMMANDS, where
    known = {flag for option in options_of(SUBCOMMANDS[name].load()) for flag in option.flags} | _COMMON
    if name == "config":
        name, rest = split_name(rest)
        known |= {flag for option in options_of(SUBCOMMANDS[name].load()) for flag in option.flags}
    if "--" in rest:
        rest = rest[: rest.index("--")]
    given = {word.partition("=")[0] for word in rest if re.match(r"--[a-z]", word)}
    assert given <= known, where


def test_options_that_a_page_names_exist() -> None:
    known = {flag for command in SUBCOMMANDS.values() for option in options_of(command.load()) for flag in option.flags}
    scripts = "".join(path.read_text() for path in (_TOP / "benchmarks").glob("*.py"))
    known |= {f"--{name.replace('_', '-')}" for name in re.findall(r"(?m)^    (\w+): ", scripts)}
    known |= set(re.findall(r'add_argument\("(--[a-z-]+)"', scripts))
    known |= {"--experiments", "--logdir", "--ntasks-per-node", "--signal"}  # Beam's, TensorBoard's, Slurm's
    for path in _FILES:
        spans = re.findall(r"`[^`\n]+`", path.read_text()) if path.name != "CHANGELOG.md" else []
        named = {option for span in spans for option in re.findall(r"(?<![\w-])--[a-z][\w.-]*", span)}
        assert named - known - _COMMON == set(), path
