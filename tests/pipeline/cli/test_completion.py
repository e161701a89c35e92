"""The completion scripts: bash runs its own; the others are checked for syntax where the shell is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import longreel
from pipeline.cli.completion import installed_options, script
from pipeline.cli.subcommands import SUBCOMMANDS


@pytest.fixture(scope="module")
def bash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "longreel"
    path.write_text(script("bash", installed_options()))
    return path


def complete(bash: Path, *words: str) -> set[str]:
    """Return what a real bash offers for the last word."""
    line = " ".join(f"'{word}'" for word in words)
    setup = f"source {bash}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _longreel"
    command = f"{setup}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    found = subprocess.run(["bash", "-uc", command], capture_output=True, text=True, check=True)
    assert found.stderr == ""
    return set(found.stdout.split())


def test_bash_completes_subcommands_options_and_choices(bash: Path) -> None:
    assert complete(bash, "longreel", "") == {*(name.split()[0] for name in SUBCOMMANDS), "--help", "--version"}
    assert complete(bash, "longreel", "tr") == {
        "trace",
        "train",
        "train-curriculum",
        "train-tokenizer",
        "train-text-tokenizer",
    }
    assert complete(bash, "longreel", "run", "--decode.f") == {"--decode.fps"}
    assert complete(bash, "longreel", "run", "--con") == {"--context", "--config"}
    assert complete(bash, "longreel", "run", "--shots", "") == {"none", "content", "transnet"}
    assert complete(bash, "longreel", "tokenize", "in", "--clips", "s") == {"shots", "seconds"}
    assert complete(bash, "longreel", "completion", "") == {"bash", "zsh", "fish"}
    assert complete(bash, "longreel", "config", "sel") == {"select"}
    assert complete(bash, "longreel", "config", "ev") == {"eval", "eval-tokenizer"}
    assert complete(bash, "longreel", "eval", "") >= {"loss", "needle", "ruler", "videos"}
    assert complete(bash, "longreel", "eval", "needle", "--log-format", "") == {"text", "json"}
    assert complete(bash, "longreel", "eval", "needle", "--dep") == {"--depths"}
    assert complete(bash, "longreel", "inspect", "") == set()  # bash then offers file names


def test_every_script_has_every_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert longreel.main(["completion", shell]) == 0
        text = capsys.readouterr().out
        assert all(word in text for name in SUBCOMMANDS for word in name.split())
        assert "decode.fps" in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_finds_no_syntax_error(shell: str, tmp_path: Path) -> None:
    path = tmp_path / shell
    path.write_text(script(shell, installed_options()))  # type: ignore[arg-type]
    if shutil.which(shell) is not None:
        assert subprocess.run([shell, "-n", str(path)], capture_output=True, check=False).stderr == b""
