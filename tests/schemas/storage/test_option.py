from __future__ import annotations

from dataclasses import dataclass

import pytest
import tyro

from schemas.storage.location import Location
from schemas.storage.option import Address


@dataclass
class Command:
    """A command with options that take locations."""

    dataset: tyro.conf.Positional[Address]
    also: tuple[Address, ...] = ()
    other: Address | None = None


def test_options_take_paths_and_urls() -> None:
    arguments = ["s3://bucket/packed/64", "--also", "/data/64", "gs://other/64"]
    command = tyro.cli(Command, args=arguments)
    assert command.dataset == Location.parse("s3://bucket/packed/64")
    assert [str(place) for place in command.also] == ["/data/64", "gs://other/64"]
    assert command.other is None


def test_an_unknown_scheme_is_an_error_that_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        tyro.cli(Command, args=["ftp://host/folder"])
    printed = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "unknown scheme ftp:// of a location; known are file://, s3://, gs://, and local paths" in printed
