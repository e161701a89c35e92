"""Commands take the settings of their workspace, and change them with --reconfigure only."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import longreel
from pipeline.cli.jobs import Survey
from pipeline.cli.options import options_of
from pipeline.cli.run import Run
from pipeline.cli.settings import recorded_vision, settings_of_command
from pipeline.cli.subcommands import SUBCOMMANDS
from pipeline.packing.config import PackConfig
from pipeline.packing.job import Stage
from pipeline.runtime.settings import Settings
from pipeline.runtime.workspace import Workspace
from pipeline.text.books import BookConfig
from schemas.storage.location import located
from tests.support.texts import story
from tokenizer.text.training import TextTrainConfig, train_text_tokenizer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """The arguments of a plain `run` on three books but for --out, and the workspace that it made."""
    folder = tmp_path_factory.mktemp("in")
    for n in range(3):
        (folder / f"book{n}.txt").write_text(story(n, 10 + 10 * n))
    model = train_text_tokenizer([story(9, 5)], folder.parent / "text.model", TextTrainConfig(vocab_size=512))
    run = ["run", str(folder), "--context", "256", "--text-tokenizer", str(model), "--units", "2"]
    out = tmp_path_factory.mktemp("run") / "out"
    assert longreel.main([*run, "--out", str(out), "--books.mask-pii", "--select.limit", "words=700:"]) == 0
    return run, out


@pytest.fixture
def workspace(made: tuple[list[str], Path], tmp_path: Path) -> tuple[list[str], Path]:
    """The same, with a copy of the workspace that a test may change."""
    run, out = made
    copy = Path(shutil.copytree(out, tmp_path / "out"))
    return [*run, "--out", str(copy)], copy


def rejected(workspace: Path) -> set[str]:
    return {Path(row["uri"]).name for row in pq.read_table(workspace / "quarantine.parquet").to_pylist()}


def test_a_plain_run_keeps_the_settings_of_an_earlier_command(
    workspace: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = workspace
    assert rejected(out) == {"book0.txt"}
    assert longreel.main(run) == 0
    assert capsys.readouterr().err.count("nothing to do") == 5
    assert longreel.main(["select", "--out", str(out), "--limit", "words=1:", "--reconfigure"]) == 0
    assert rejected(out) == set()
    assert longreel.main(run) == 0
    assert rejected(out) == set()
    stored = tomllib.loads((out / "logs" / "run.toml").read_text())
    assert stored["select"]["limit"] == ["words=1:"]
    assert stored["books"]["mask-pii"] is True


def test_other_settings_are_refused_with_the_difference(
    workspace: tuple[list[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = workspace
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert longreel.main([*run, "--books.no-mask-pii", "--pack.seed", "3"]) == 2
    printed = capsys.readouterr().err
    assert "books.mask-pii: true -> false" in printed
    assert "pack.256.seed: 0 -> 3" in printed
    assert "survey, dedup, select, tokenize, pack" in printed
    assert "--reconfigure" in printed
    assert longreel.main(["pack", "--out", str(out), "--context", "256", "--seed", "3"]) == 2
    assert "which invalidates the results of: pack 256" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_reconfigure_applies_other_settings_and_later_commands_keep_them(workspace: tuple[list[str], Path]) -> None:
    run, out = workspace
    assert longreel.main([*run, "--pack.seed", "3", "--reconfigure"]) == 0
    assert Settings.read(located(out)).values[("pack", "256", "seed")] == "3"
    assert longreel.main(["pack", "--out", str(out), "--context", "256"]) == 0
    assert tomllib.loads((out / "logs" / "pack.toml").read_text())["seed"] == 3


def test_settings_are_recorded_before_the_work_so_that_a_crash_loses_none(
    workspace: tuple[list[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = workspace
    for unit in (out / "survey").rglob("*.parquet"):  # which units there are depends on the addresses
        unit.unlink()
    (out / "manifest.parquet").unlink()
    (out / "manifest.parquet").mkdir()  # the survey cannot write it
    assert longreel.main([*run, "--select.limit", "words=2:", "--reconfigure"]) == 1
    assert Settings.read(located(out)).values[("select", "limit")] == '["words=2:"]'
    (out / "manifest.parquet").rmdir()
    assert longreel.main(run) == 0
    assert rejected(out) == set()


def test_what_ran_can_be_given_back(workspace: tuple[list[str], Path], tmp_path: Path) -> None:
    _, out = workspace
    stored = tmp_path / "run.toml"
    shutil.copyfile(out / "logs" / "run.toml", stored)
    assert longreel.main(["run", "--config", str(stored)]) == 0  # in the workspace of `made`: nothing changes
    again = tmp_path / "again"
    assert longreel.main(["run", "--config", str(stored), "--out", str(again)]) == 0
    for name in ("tokens", "packed/256"):
        files = {path.name: path.read_bytes() for path in (out / name).rglob("*") if path.is_file()}
        assert {path.name: path.read_bytes() for path in (again / name).rglob("*") if path.is_file()} == files


def test_a_new_workspace_and_one_without_settings_have_the_defaults(workspace: tuple[list[str], Path]) -> None:
    run, out = workspace
    (out / "config.toml").unlink()
    assert longreel.main(run) == 0
    assert rejected(out) == set()
    assert Settings.read(located(out)).values[("books", "mask-pii")] == "false"


def test_a_run_that_failed_before_the_manifest_fixes_no_setting(tmp_path: Path) -> None:
    run = ["run", str(tmp_path / "gone"), "--out", str(tmp_path / "out"), "--context", "256", "--books.max-bytes"]
    assert longreel.main([*run, "1000"]) == 1
    assert longreel.main([*run, "2000"]) == 1  # not 2: the inputs are missing, the settings may change
    assert Settings.read(located(tmp_path / "out")).values[("books", "max-bytes")] == "2000"


def test_another_text_tokenizer_is_refused_until_reconfigure(
    workspace: tuple[list[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out = workspace
    other = train_text_tokenizer([story(8, 5)], tmp_path / "other.model", TextTrainConfig(vocab_size=520))
    command = ["tokenize", "--out", str(out), "--text-tokenizer", str(other)]
    before = (out / "tokenizers" / "text" / "tokenizer.model").read_bytes()
    assert longreel.main(command) == 2
    assert "is not the tokenizer of the workspace" in capsys.readouterr().err
    assert (out / "tokenizers" / "text" / "tokenizer.model").read_bytes() == before
    assert longreel.main([*command, "--reconfigure"]) == 0
    assert (out / "tokenizers" / "text" / "tokenizer.model").read_bytes() == other.read_bytes()


def test_the_vqgan_of_a_workspace_is_the_recorded_one(workspace: tuple[list[str], Path], tmp_path: Path) -> None:
    _, out = workspace
    assert recorded_vision(located(out)) == "small-128"
    Settings({("vision",): '"other.safetensors"'}).write(located(out))
    assert recorded_vision(located(out)) == "other.safetensors"
    assert recorded_vision(located(tmp_path)) == "small-128"  # no workspace


def test_a_command_that_only_reads_needs_no_lock_and_records_nothing(workspace: tuple[list[str], Path]) -> None:
    _, out = workspace
    before = (out / "config.toml").read_bytes()
    with Workspace.existing(out).locked():
        assert longreel.main(["select", "--out", str(out), "--limit", "words=5:", "--dry-run"]) == 0
    assert (out / "config.toml").read_bytes() == before


def test_commands_share_one_key_for_one_setting() -> None:
    keys = {
        name: set(settings_of_command(_with_defaults(name), _stages(name)))
        for name in ("survey", "select", "tokenize", "pack")
    }
    run = set(settings_of_command(_with_defaults("run"), _stages("run")))
    assert keys["survey"] | keys["select"] | keys["tokenize"] | keys["pack"] == run
    assert ("decode", "fps") in keys["survey"] & keys["tokenize"]
    assert ("books", "mask-pii") in keys["survey"] & keys["tokenize"]
    assert (
        settings_of_command(Survey(inputs=(), place=_with_defaults("survey").place, books=BookConfig(mask_pii=True)))[
            ("books", "mask-pii")
        ]
        == "true"
    )


def test_every_setting_of_run_is_an_option_of_run() -> None:
    names = {option.name for option in options_of(Run)}
    keys = settings_of_command(_with_defaults("run"))
    flat = ("inputs", "access")  # tables whose options have no prefix
    assert {".".join(key[1:] if key[0] in flat else key) for key in keys} <= names


def _with_defaults(name: str) -> Run:
    from pipeline.cli.parse import parse

    required = {"run": ["--context", "256"], "pack": ["--context", "256"]}.get(name, [])
    command: Run = parse(SUBCOMMANDS[name].load(), ["--out", "there", *required], prog=name)
    return command


def _stages(name: str) -> list[Stage]:
    return [Stage(name="256", context_length=256, config=PackConfig())] if name in ("run", "pack") else []
