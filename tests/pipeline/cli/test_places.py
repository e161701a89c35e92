"""Every option that names a file or folder takes an address in a bucket, or refuses it; none makes a folder `s3:`.

None takes a FIFO, socket or device, and those that name an output take nothing that the output cannot replace.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import MISSING
from pathlib import Path

import pytest

from pipeline.cli.options import Option, options_of
from pipeline.cli.parse import build, parse
from pipeline.cli.places import check_places
from pipeline.cli.subcommands import SUBCOMMANDS
from schemas.errors import ConfigError, UsageError
from schemas.storage.location import Location
from schemas.storage.option import Output
from tests.support.finished_workspace import write_finished_workspace

ADDRESS = "s3://bucket/folder/file"
PLACES = [
    (name, option)
    for name, row in SUBCOMMANDS.items()
    for option in options_of(row.load())
    if option.element in (Path, Location)
]
OUTPUTS = [(name, option) for name, option in PLACES if option.output]
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


def test_every_option_that_names_what_is_written_is_an_output() -> None:
    written = [named(case) for case in PLACES if case[1].key in ("out", "copy-to")]
    assert written == [named(case) for case in OUTPUTS]
    assert len(OUTPUTS) > 20


@pytest.fixture(params=["fifo", "socket", "device"])
def special(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A FIFO, a socket, or a device of the kind of /dev/null, none of them the system's."""
    path = tmp_path / request.param
    with socket.socket(socket.AF_UNIX) as listening:
        if request.param == "fifo":
            os.mkfifo(path)
        elif request.param == "socket":
            listening.bind(str(path))
        else:
            try:
                os.mknod(path, 0o20600, os.makedev(1, 3))
            except PermissionError:
                pytest.skip("only root may make devices")
        yield path


def of_option(option: Option, path: Path) -> object:
    """Return a path as the value of an option."""
    value = Location.parse(path) if option.element is Location else path
    return (value,) if option.is_list else value


def test_no_option_takes_a_special_file_or_a_link_to_one(special: Path) -> None:
    link = special.with_name("link")
    link.symlink_to(special)
    for name, option in PLACES:
        for path in (special, link):
            with pytest.raises(UsageError, match="is a FIFO, socket or device; name a file or folder"):
                check_places(option, of_option(option, path))
            assert not path.is_file(), name


def test_no_output_takes_a_file_for_a_folder_or_a_folder_for_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for _, option in OUTPUTS:
        takes_folder = option.output is Output.FOLDER
        check_places(option, of_option(option, tmp_path / ("folder" if takes_folder else "file")))
        check_places(option, of_option(option, tmp_path / "new" / "new"))
        for wrong in (tmp_path / ("file" if takes_folder else "folder"), tmp_path / "file" / "below"):
            with pytest.raises(UsageError, match="move it away, or choose another place"):
                check_places(option, of_option(option, wrong))


def test_no_file_is_written_where_devices_are() -> None:
    files = [option for _, option in OUTPUTS if option.output is Output.FILE]
    for path in (Path("/dev/stdout"), Path("/dev/fd/1"), Path("/proc/self/fd/1"), Path("/dev/none.png")):
        for option in files:
            with pytest.raises(UsageError, match="is a FIFO, socket or device|holds devices"):
                check_places(option, of_option(option, path))


@pytest.mark.slow
def test_a_page_is_written_to_standard_output(tmp_path: Path) -> None:
    workspace = write_finished_workspace(tmp_path / "workspace").root
    before = Path("/dev/stdout").lstat()
    command = [sys.executable, "-m", "longreel", "report", str(workspace), "--out", "/dev/stdout"]
    with (tmp_path / "page.html").open("wb") as file:  # a regular file, which a new file could replace
        subprocess.run(command, stdout=file, check=True)
    assert (tmp_path / "page.html").read_bytes().startswith(b"<!doctype html>")
    assert Path("/dev/stdout").lstat() == before
