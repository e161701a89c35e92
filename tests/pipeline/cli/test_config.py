"""`longreel config COMMAND` prints a file that the command takes back unchanged."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import longreel
from pipeline.cli.config import effective_config
from pipeline.cli.subcommands import SUBCOMMANDS
from pipeline.runtime.settings import Settings
from schemas.storage.location import located


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_the_configuration_of_every_command_is_read_back_unchanged(name: str, tmp_path: Path) -> None:
    first = effective_config(name, [])
    (tmp_path / "a.toml").write_text(first)
    assert effective_config(name, ["--config", str(tmp_path / "a.toml")]) == first
    values = tomllib.loads(first)
    assert "config" not in values
    assert "reconfigure" not in values


def test_values_of_every_type_are_read_back(tmp_path: Path) -> None:
    given = [
        "in", 'a "quoted"\\ name', "--out", str(tmp_path / "new"), "--context", "64", "--context", "128", "--retry",
        "--decode.fps", "0.5", "--select.licenses", "CC0-1.0", "CC-BY-4.0", "--survey.books.no-cut-passages",
        "--pack.mixture.source-epochs", "a.b c", "2", "book", "0.5", "--select.val-fraction", "0",
    ]  # fmt: skip
    first = effective_config("run", given)
    (tmp_path / "a.toml").write_text(first)
    assert effective_config("run", ["--config", str(tmp_path / "a.toml")]) == first
    values = tomllib.loads(first)
    assert values["inputs"] == ["in", 'a "quoted"\\ name']
    assert values["context"] == [64, 128]
    assert values["retry"] is True
    assert values["survey"]["books"]["cut-passages"] is False
    assert values["select"]["licenses"] == ["CC0-1.0", "CC-BY-4.0"]
    assert values["pack"]["mixture"]["source-epochs"] == {"a.b c": 2.0, "book": 0.5}


def test_every_option_has_a_comment_and_a_missing_one_is_marked_as_required() -> None:
    lines = effective_config("select", []).splitlines()
    assert "# out =  # required: a path or URL" in lines
    settings = [i for i, line in enumerate(lines) if " = " in line and not line.startswith("# ")]
    assert settings
    assert all(lines[i - 1].startswith("# ") for i in settings)


def test_command_line_wins_over_the_file_and_the_file_over_the_workspace(tmp_path: Path) -> None:
    Settings({("dedup", "max-bucket"): "5", ("select", "split-seed"): "6", ("select", "val-fraction"): "0.5"}).write(
        located(tmp_path)
    )
    (tmp_path / "c.toml").write_text("split-seed = 7\n[dedup]\nmax-bucket = 8\n")
    arguments = ["--out", str(tmp_path), "--config", str(tmp_path / "c.toml"), "--dedup.max-bucket", "9"]
    values = tomllib.loads(effective_config("select", arguments))
    assert (values["dedup"]["max-bucket"], values["split-seed"], values["val-fraction"]) == (9, 7, 0.5)


def test_printed_configuration_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main(["config", "samples", "--out", "there"]) == 0
    assert 'out = "there"' in capsys.readouterr().out
    assert longreel.main(["config", "sampels"]) == 2
    assert "unknown subcommand 'sampels'; did you mean 'samples'?" in capsys.readouterr().err
