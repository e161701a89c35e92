"""The options that are derived from dataclasses are those that tyro's command line has."""

from __future__ import annotations

import re

import pytest

import longreel
from pipeline.cli.jobs import Survey
from pipeline.cli.options import options_of
from pipeline.cli.run import Run
from pipeline.cli.subcommands import SUBCOMMANDS


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_names_are_those_that_help_shows(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = options_of(SUBCOMMANDS[name].load())
    with pytest.raises(SystemExit):
        longreel.main([name, "--help"])
    shown = set(re.findall(r"(?m)^\W*(?:-h, )?(--[a-z][\w.-]+)(?:, (--[\w.-]+))?", capsys.readouterr().out))
    flags = {flag for pair in shown for flag in pair if flag}
    common = {"--help", "--config", "--log-level", "--log-format"}
    assert flags == {flag for option in options for flag in option.flags} | common


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_option_has_a_description_and_a_unique_name(name: str) -> None:
    options = options_of(SUBCOMMANDS[name].load())
    assert all(option.help for option in options)
    assert len({option.name for option in options}) == len(options)


def test_an_option_knows_its_type_its_default_and_its_place() -> None:
    options = {option.name: option for option in options_of(Run)}
    fps = options["decode.fps"]
    assert (fps.path, fps.table, fps.key, fps.element) == (("tokenize", "decode", "fps"), ("decode",), "fps", float)
    assert options["text-tokenizer"].is_optional
    assert options["context"].repeated
    assert options["inputs"].positional
    assert options["shots"].choices == ("none", "content", "transnet")
    assert options["pack.mixture.kind-epochs"].is_mapping
    assert options["survey.books.cut-passages"].flags == (
        "--survey.books.cut-passages",
        "--survey.books.no-cut-passages",
    )
    assert {option.name for option in options_of(Survey)} <= set(options) | {"inputs"}


@pytest.mark.parametrize(
    ("name", "value", "arguments"),
    [
        ("retry", True, ["--retry"]),
        ("survey.books.cut-passages", False, ["--survey.books.no-cut-passages"]),
        ("context", [64, 128], ["--context", "64", "--context", "128"]),
        ("select.licenses", ["a", "b"], ["--select.licenses", "a", "b"]),
        ("select.licenses", [], ["--select.licenses"]),
        ("inputs", ["a", "b"], ["a", "b"]),
        ("vision", "-x", ["--vision=-x"]),
        ("pack.mixture.kind-epochs", {"book": 2.0}, ["--pack.mixture.kind-epochs", "book", "2.0"]),
    ],
)
def test_values_become_arguments(name: str, value: object, arguments: list[str]) -> None:
    options = {option.name: option for option in options_of(Run)}
    assert options[name].to_arguments(value) == arguments  # type: ignore[arg-type]
