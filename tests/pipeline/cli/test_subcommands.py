"""The table of subcommands, and the help of each."""

from __future__ import annotations

import dataclasses
import gc
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import longreel
from pipeline.cli.subcommands import SUBCOMMANDS, Subcommand
from schemas.errors import ConfigError


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_subcommand_explains_every_option(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as e:
        longreel.main([name, "--help"])
    assert e.value.code == 0
    printed = capsys.readouterr().out
    assert f"longreel {name}" in printed
    entries = re.split(r"(?m)^\s{1,6}(?=--?\w)", re.sub(r"\((default|required|repeatable)[^)]*\)", "", printed))[1:]
    bare = [entry for entry in entries if not re.search(r"[a-z]", re.split(r" {2,}|\n", entry, maxsplit=1)[1])]
    assert entries
    assert not bare


@pytest.mark.slow
def test_beam_is_imported_by_the_first_job_and_not_by_the_options() -> None:
    code = "import sys; from pipeline.cli.subcommands import SUBCOMMANDS as s; s['run'].load(); "
    code += "raise SystemExit({'apache_beam', 'jax'} & set(sys.modules) or 0)"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_verify_imports_neither_decoders_nor_libraries_for_requests(tmp_path: Path) -> None:
    code = "import sys, longreel; longreel.main(['verify', 'missing']); "
    code += "raise SystemExit({'pandas', 'aiohttp', 'psutil', 'PIL', 'tokenizers'} & set(sys.modules) or 0)"
    subprocess.run([sys.executable, "-P", "-c", code], check=True, cwd=tmp_path, env=os.environ)


def test_every_subcommand_names_a_dataclass_that_has_a_description() -> None:
    for name, subcommand in SUBCOMMANDS.items():
        command_class = subcommand.load()
        assert dataclasses.is_dataclass(command_class)
        assert (command_class.__doc__ or "").strip().endswith((".", "longreel.fish")), name


def test_a_missing_module_names_the_extra_to_install(tmp_path: Path) -> None:
    (tmp_path / "needs_more.py").write_text("import a_module_that_is_not_installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        subcommand = Subcommand(group="", module="needs_more", class_name="X", summary="")
        with pytest.raises(ConfigError, match=r"a_module_that_is_not_installed.*longreel\[pipeline\]"):
            subcommand.load()


def test_garbage_is_not_searched_for_while_a_subcommand_is_imported(tmp_path: Path) -> None:
    (tmp_path / "a_subcommand.py").write_text("import gc\nclass X:\n    collects = gc.isenabled()")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        found = Subcommand(group="", module="a_subcommand", class_name="X", summary="").load()
    assert found.collects is False  # type: ignore[attr-defined]
    assert gc.isenabled()


@pytest.mark.parametrize("name", [name for name, row in SUBCOMMANDS.items() if not row.uses_beam and name != "config"])
def test_only_stages_take_options_for_beam(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main([name, "--", "--runner=FlinkRunner"]) == 2
    assert "takes no Beam options" in capsys.readouterr().err
