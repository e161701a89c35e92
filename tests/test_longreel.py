"""The entry point: help, version, exit codes and error messages."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import longreel
from pipeline.cli.subcommands import SUBCOMMANDS, Subcommand

pytestmark = pytest.mark.slow


def test_help_lists_every_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in SUBCOMMANDS)


def test_options_for_beam_are_refused_where_beam_does_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main(["verify", "x", "--", "--runner=FlinkRunner"]) == 2
    assert "takes no Beam options, got '--runner=FlinkRunner'" in capsys.readouterr().err


def test_unknown_subcommand_names_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main(["pakc"]) == 2
    assert "unknown subcommand 'pakc'; did you mean 'pack'?" in capsys.readouterr().err
    assert longreel.main(["qqq"]) == 2
    assert "`longreel --help` lists the subcommands" in capsys.readouterr().err


def test_version_is_that_of_the_installed_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main(["--version"]) == 0
    assert capsys.readouterr().out == f"longreel {importlib.metadata.version('longreel')}\n"


def test_help_and_module_document_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main(["--help"]) == 0
    printed = capsys.readouterr().out
    for code in (longreel.SUCCESS, longreel.FAILURE, longreel.USAGE, longreel.INTERNAL, longreel.INTERRUPTED):
        assert re.search(rf"(?m)^  {code} +\w", printed)
        assert re.search(rf"(?m)^    {code} +\w", longreel.__doc__ or "")


def test_no_arguments_print_the_help_and_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main([]) == 2
    assert "usage: longreel SUBCOMMAND" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["--help", "--version", "inspect --help", "completion bash"])
def test_a_reader_that_has_enough_ends_a_command_quietly(
    command: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert longreel.main(command.split()) == 0
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "make",
    [lambda path: (path / "schemas").mkdir() or path / "schemas" / "__init__.py", lambda path: path / "schemas.py"],
)
def test_a_package_that_shadows_an_own_one_is_named_with_its_path(make: Callable[[Path], Path], tmp_path: Path) -> None:
    make(tmp_path).write_text("raise RuntimeError('the wrong package was imported')")
    home = Path(longreel.__file__).parent
    found = subprocess.run(
        [sys.executable, "-P", str(home / "longreel.py"), "--help"],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{home}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 2
    assert f"instead of {home / 'schemas'}" in found.stderr
    assert f"Remove the folder {tmp_path} from PYTHONPATH" in found.stderr
    assert "Traceback" not in found.stderr


def test_an_internal_error_prints_its_traceback_and_has_its_own_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Subcommand(group="", module="tests.test_longreel", class_name="Broken", summary="")
    monkeypatch.setitem(SUBCOMMANDS, "broken", broken)
    assert longreel.main(["broken"]) == 3
    printed = capsys.readouterr().err
    assert "longreel broken: internal error; please report it" in printed
    assert "ZeroDivisionError" in printed


def test_an_internal_error_in_a_worker_has_the_same_exit_code_and_names_the_file_with_the_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "book.txt").write_text("It was a bright cold day in April. " * 30)
    monkeypatch.setattr("pipeline.survey.worker.write_table_unit", lambda *table: 1 // 0)  # not of one item
    assert longreel.main(["survey", str(tmp_path / "book.txt"), "--out", str(tmp_path / "out")]) == 3
    printed = capfd.readouterr().err
    (log,) = (tmp_path / "out" / "logs").glob("*.txt")
    assert "longreel survey: internal error in a worker: ZeroDivisionError" in printed
    assert f"Please report this error and attach {log}" in printed
    assert "ZeroDivisionError" in log.read_text()


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A command with a defect."""

    def __call__(self, options: tuple[str, ...]) -> None:
        _ = 1 // 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "nowhere", "--out", "{}", "--context", "4096"], 1, "no such file or folder"),
        (["run", ".", "--out", "/dev/null/x", "--context", "4096"], 2, "/dev/null is a FIFO, socket or device"),
        (["select", "--out", "{}"], 1, "not a Longreel workspace"),
        (["verify", "{}/packed/7"], 1, "no such dataset"),
        (["train", "--dataset", "{}/packed/7", "--out", "{}"], 1, "no such dataset"),
    ],
)
def test_an_error_is_one_message_without_a_traceback(
    arguments: list[str], code: int, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status = longreel.main([a.format(tmp_path / "new") for a in arguments])
    printed = capfd.readouterr().err
    assert status == code
    assert message in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", ".", "--out", "{}"], "--context 4096"),
        (["run", ".", "--out", "{}", "--context", "3"], "context_length must lie in 16..2147483647, got 3"),
        (["pack", "--out", "{}", "--curriculum", "a.toml", "--context", "64"], "do not combine it with --context"),
        (["generate", "--model", "{}", "--workspace", "{}"], "name the file to write"),
        (["trace", "{}", "--key", "train-000000000", "--out", "a.png"], "--out needs --token"),
    ],
)
def test_wrong_combinations_and_values_of_options_are_wrong_usage(
    arguments: list[str], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert longreel.main([a.format(tmp_path / "new") for a in arguments]) == 2
    assert message in capfd.readouterr().err
