"""A command is built from the command line, the configuration file and the workspace, in this order of precedence."""

from __future__ import annotations

from pathlib import Path

import pytest

import longreel
from pipeline.cli.jobs import Pack, Select
from pipeline.cli.options import options_of
from pipeline.cli.parse import given_options, parse, take_config
from pipeline.cli.run import Run
from pipeline.runtime.settings import Settings
from schemas.errors import UsageError
from schemas.storage.location import located


def test_a_file_gives_what_the_command_line_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('inputs = ["a", "b"]\ncontext = [64]\nout = "there"\nretry = true\n[decode]\nfps = 4\n')
    command = parse(Run, ["--config", str(path), "--context", "128", "--no-retry"], prog="run")
    assert (command.inputs, command.context, command.retry) == (("a", "b"), (128,), False)
    assert (str(command.place.out), command.tokenize.decode.fps) == (str(Path("there").absolute()), 4.0)
    command = parse(Run, ["c", f"--config={path}"], prog="run")
    assert command.inputs == ("c",)
    assert command.context == (64,)


def test_the_workspace_gives_what_the_file_leaves_out(tmp_path: Path) -> None:
    Settings({("select", "limit"): '["motion=1:"]', ("select", "split-seed"): "3"}).write(located(tmp_path))
    (tmp_path / "c.toml").write_text("split-seed = 4\n")
    command = parse(Select, ["--out", str(tmp_path), "--config", str(tmp_path / "c.toml")], prog="select")
    assert (command.select.filters.limit.limit, command.select.split_seed) == (("motion=1:",), 4)
    assert parse(
        Select, ["--out", str(tmp_path), "--limit", "motion=2:"], prog="select"
    ).select.filters.limit.limit == ("motion=2:",)


def test_each_dataset_has_its_own_packing(tmp_path: Path) -> None:
    Settings({("pack", "64", "seed"): "1", ("pack", "128", "seed"): "2"}).write(located(tmp_path))
    where = ["--out", str(tmp_path), "--context"]
    assert parse(Pack, [*where, "64"], prog="pack").pack.seed == 1
    assert parse(Pack, [*where, "128"], prog="pack").pack.seed == 2
    assert parse(Pack, [*where, "256"], prog="pack").pack.seed == 0
    with pytest.raises(UsageError, match=r"different values of --seed \(64: 1, 128: 2\)"):
        parse(Pack, [*where, "64", "--context", "128"], prog="pack")
    assert parse(Pack, [*where, "64", "--context", "128", "--seed", "5"], prog="pack").pack.seed == 5


def test_options_are_distinguished_from_their_values() -> None:
    arguments = [
        "a",
        "b",
        "--context=3",
        "--retry",
        "--select.licenses",
        "x",
        "y",
        "--text_tokenizer",
        "m",
        "--context",
        "4",
    ]
    assert given_options(options_of(Run), arguments) == {
        "inputs": ["a", "b"],
        "context": ["3", "4"],
        "retry": [],
        "select.licenses": ["x", "y"],
        "text-tokenizer": ["m"],
    }
    assert given_options(options_of(Run), ["--no-retry", "a"]) == {"retry": [], "inputs": ["a"]}


def test_config_is_one_file() -> None:
    assert take_config(["a", "--config", "f", "--b"]) == (["a", "--b"], Path("f"))
    assert take_config(["a"]) == (["a"], None)
    with pytest.raises(UsageError, match="needs a file"):
        take_config(["--config"])
    with pytest.raises(UsageError, match="given 2 times: f, g"):
        take_config(["--config", "f", "--config=g"])


def test_a_wrong_file_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.toml").write_text("datasets = 'x'\n")
    assert longreel.main(["inspect", "--config", str(tmp_path / "c.toml")]) == 2
    assert "unknown key 'datasets'; did you mean 'dataset'?" in capsys.readouterr().err
