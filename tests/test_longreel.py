"""The command as a person uses it: from files on disk to a dataset, a model and a picture."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

import longreel
from pipeline.cli.subcommands import SUBCOMMANDS, Subcommand
from pipeline.runtime.token_store import TokenStore
from pipeline.runtime.workspace import Workspace
from schemas.dataset import read_card
from schemas.packed import check_spans, expand
from tests.support.media import make_video
from tests.support.texts import story

CONTEXT = 1024


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace made by `longreel run` from two videos, a picture and three books."""
    folder = tmp_path_factory.mktemp("in")
    for name in ("held.mp4", "b.mp4"):
        make_video(folder / name, frames=75 if name == "b.mp4" else 60)
    Image.fromarray(np.full((90, 120, 3), 140, np.uint8)).save(folder / "picture.png")
    (folder / "picture.txt").write_text("a gray picture")
    for n in range(3):
        (folder / f"book{n}.txt").write_text(story(n, 30))
    items = [{"uri": str(p)} for p in sorted(folder.iterdir()) if p.name != "picture.txt"]
    for item in items:
        item["split"] = "val" if Path(item["uri"]).name in ("held.mp4", "book0.txt") else "train"
        item["license"], item["source"] = "CC0-1.0", "a test"
    manifest = tmp_path_factory.mktemp("manifest") / "m.jsonl"
    manifest.write_text("\n".join(map(json.dumps, items)))
    out = tmp_path_factory.mktemp("run") / "out"
    assert longreel.main(["run", str(manifest), "--out", str(out), "--context", str(CONTEXT), "--units", "4"]) == 0
    return out


def test_help_lists_every_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(f"  {name} " in told for name in SUBCOMMANDS)


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_subcommand_explains_every_option(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as e:
        longreel.main([name, "--help"])
    assert e.value.code == 0
    told = capsys.readouterr().out
    assert f"longreel {name}" in told
    entries = re.split(r"(?m)^\s+(?=--?\w)", re.sub(r"\((default|required|repeatable)[^)]*\)", "", told))[1:]
    bare = [entry for entry in entries if not re.search(r"[a-z]", re.split(r" {2,}|\n", entry, maxsplit=1)[1])]
    assert entries
    assert not bare


def test_options_for_beam_are_refused_where_beam_does_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert longreel.main(["verify", "x", "--", "--runner=FlinkRunner"]) == 2
    assert "takes no Beam options, got '--runner=FlinkRunner'" in capsys.readouterr().err


def test_where_no_item_goes_on_the_reasons_are_written_and_no_text_model_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").touch()
    out = tmp_path / "out"
    assert longreel.main(["run", str(tmp_path / "in"), "--out", str(out), "--context", "64"]) == 1
    assert "every item was set aside" in capsys.readouterr().err
    assert pq.read_table(out / "quarantine.parquet")["reason"].to_pylist() == ["empty"]
    assert not (out / "tokenizers").exists()


def test_a_second_command_at_once_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("text")
    with Workspace.open(tmp_path / "out").locked():
        assert longreel.main(["run", str(tmp_path / "a.txt"), "--out", str(tmp_path / "out"), "--context", "64"]) == 1
        assert longreel.main(["pack", "--out", str(tmp_path / "out"), "--context", "64"]) == 1
    assert capsys.readouterr().err.count("another longreel command works in") == 2


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


@pytest.mark.parametrize(
    "make",
    [lambda path: (path / "schemas").mkdir() or path / "schemas" / "__init__.py", lambda path: path / "schemas.py"],
)
def test_a_package_of_the_same_name_on_the_path_is_named(make: Callable[[Path], Path], tmp_path: Path) -> None:
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
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Subcommand(group="", module="tests.test_longreel", class_name="Broken", summary="")
    monkeypatch.setitem(SUBCOMMANDS, "broken", broken)
    assert longreel.main(["broken"]) == 3
    assert "longreel broken: internal error; please report it" in caplog.text
    assert "ZeroDivisionError" in caplog.text


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A command with a defect."""

    def __call__(self, options: tuple[str, ...]) -> None:
        _ = 1 // 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nowhere", "--out", "{}", "--context", "4096"], "nothing is there"),
        (["run", ".", "--out", "{}"], "--context 4096"),
        (["run", ".", "--out", "{}", "--context", "3"], "context_length must lie in 16..2147483647, got 3"),
        (["run", ".", "--out", "/dev/null/x", "--context", "4096"], "Not a directory"),
        (["select", "--out", "{}"], "not a Longreel workspace"),
        (["verify", "{}/packed/7"], "no such dataset"),
        (["train", "--dataset", "{}/packed/7", "--out", "{}"], "no such dataset"),
    ],
)
def test_a_mistake_is_one_clear_message_without_a_traceback(
    arguments: list[str], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status = longreel.main([a.format(tmp_path / "new") for a in arguments])
    told = capfd.readouterr().err
    assert status == 1
    assert message in told
    assert "Traceback" not in told


def test_the_dataset_passes_verify_and_its_tokens_are_the_stores(workspace: Path) -> None:
    dataset = workspace / "packed" / str(CONTEXT)
    assert longreel.main(["verify", str(dataset), "--tokens", str(workspace / "tokens")]) == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves its files open
def test_plain_webdataset_reads_every_sequence(workspace: Path) -> None:
    dataset = workspace / "packed" / str(CONTEXT)
    card = read_card(dataset)
    shards = sorted(map(str, dataset.glob("train-*.tar")))
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode())
    assert len(samples) == card.splits["train"].sequences
    tokens = 0
    for sample in samples:
        assert sample["tokens.npy"].shape == (CONTEXT,)
        documents = sample["json"]["documents"]
        check_spans(sample["spans.npy"], length=CONTEXT, documents=len(documents), where=sample["__key__"])
        expanded = expand(sample["spans.npy"], CONTEXT)
        assert np.array_equal(expanded.vision, card.vocabulary.is_vision(sample["tokens.npy"]))
        tokens += np.count_nonzero(expanded.segment_ids)
    assert tokens == card.splits["train"].tokens


def test_every_token_of_the_store_is_in_the_ledger_once(workspace: Path) -> None:
    ledger = pq.read_table(workspace / "packed" / str(CONTEXT) / "documents.parquet")
    lengths = ledger.group_by("document_id").aggregate([("length", "sum")]).to_pylist()
    stored = TokenStore(workspace / "tokens").table().to_pylist()
    assert {r["document_id"]: r["length_sum"] for r in lengths} == {r["document_id"]: r["length"] for r in stored}
    assert set(ledger["license"].to_pylist()) == {"CC0-1.0"}


def test_trace_tells_where_a_token_came_from_and_shows_its_frame_or_sentence(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = workspace / "packed" / str(CONTEXT)
    assert longreel.main(["inspect", str(dataset)]) == 0
    assert longreel.main(["trace", str(dataset), "--key", "val-000000000"]) == 0
    assert "CC0-1.0" in capsys.readouterr().out
    rows = pq.read_table(dataset / "documents.parquet").to_pylist()
    frames = next(row for row in rows if row["modality"] == 1)
    place = ["--key", frames["sequence"], "--token", str(frames["start"] + 70)]
    picture = tmp_path / "picture.png"
    assert longreel.main(["trace", str(dataset), *place, "--out", str(picture)]) == 0
    with Image.open(picture) as image:
        assert image.size == (128, 128)
    assert "a test" in capsys.readouterr().out
    text = next(row for row in rows if row["kind"] == "book" and row["document_start"] == 0)
    place = ["--key", text["sequence"], "--token", str(text["start"] + 1)]
    assert longreel.main(["trace", str(dataset), *place]) == 0
    told = capsys.readouterr().out
    assert "⟦" in told
    first_sentence = Path(text["uri"]).read_text().split(". ")[0]
    assert first_sentence.split()[-1] + "." in told


def test_a_document_is_forgotten_and_the_dataset_passes_verify_with_its_store(workspace: Path, tmp_path: Path) -> None:
    dataset = Path(shutil.copytree(workspace / "packed" / str(CONTEXT), tmp_path / "dataset"))
    uri = next(u for u in pq.read_table(dataset / "documents.parquet")["uri"].to_pylist() if u.endswith("book1.txt"))
    assert longreel.main(["forget", str(dataset), uri]) == 0
    assert longreel.main(["verify", str(dataset), "--tokens", str(workspace / "tokens")]) == 0
    assert uri not in pq.read_table(dataset / "documents.parquet")["uri"].to_pylist()


def test_a_second_run_says_that_there_is_nothing_to_do(workspace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    manifest = tomllib.loads((workspace / "logs" / "run.toml").read_text())["inputs"]
    before = {p: p.stat().st_mtime_ns for p in (workspace / "packed").rglob("*")}
    assert longreel.main(["run", *manifest, "--out", str(workspace), "--context", str(CONTEXT)]) == 0
    told = capfd.readouterr().err
    assert told.count("nothing to do") == 5  # survey, dedup, select, tokenize, pack
    assert {p: p.stat().st_mtime_ns for p in (workspace / "packed").rglob("*")} == before


def test_a_model_is_trained_goes_on_with_a_video_and_refuses_another_tokenizers_data(
    workspace: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    dataset, model = workspace / "packed" / str(CONTEXT), tmp_path / "model"
    train = ["train", "--out", str(model), "--model", "debug", "--batch-size", "2", "--mesh.sequence", "4"]
    assert longreel.main([*train, "--mesh.data", "2", "--dataset", str(dataset), "--steps", "2"]) == 0
    picture = tmp_path / "picture.png"
    generate = ["generate", "--model", str(model), "--workspace", str(workspace), "--out", str(picture)]
    assert longreel.main([*generate, "--prompt-frames", "2", "--frames", "2"]) == 0
    with Image.open(picture) as image:
        assert image.size[0] >= 4 * 128
        assert image.size[1] >= 3 * 128
    capfd.readouterr()
    other = tmp_path / "other"
    manifest = tomllib.loads((workspace / "logs" / "run.toml").read_text())["inputs"]
    more = tmp_path / "text.model"
    assert longreel.main(["train-text-tokenizer", *manifest, "--out", str(more), "--vocab-size", "600"]) == 0
    run = ["run", *manifest, "--out", str(other), "--context", str(CONTEXT), "--text-model", str(more)]
    assert longreel.main(run) == 0
    again = [*train, "--mesh.data", "2", "--dataset", str(other / "packed" / str(CONTEXT)), "--steps", "4"]
    assert longreel.main(again) == 1
    told = capfd.readouterr().err
    assert "text_sha256" in told
    assert "different tokenizers" in told


def test_a_file_size_limit_is_told_and_costs_nothing_that_was_made(workspace: Path, tmp_path: Path) -> None:
    manifest = tomllib.loads((workspace / "logs" / "run.toml").read_text())["inputs"]
    command = [sys.executable, "-m", "longreel", "run", *manifest, "--out", str(tmp_path / "out")]
    command += ["--context", str(CONTEXT), "--units", "4"]

    limited = ["bash", "-c", 'ulimit -f 9; exec "$@"', "bash", *command]  # in units of 1,024 bytes
    first = subprocess.run(limited, capture_output=True, text=True, timeout=300, check=False)
    assert first.returncode == 1
    assert "cannot write" in first.stderr
    assert "What was made before is kept" in first.stderr
    assert "Traceback" not in first.stderr
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    assert longreel.main(["verify", str(tmp_path / "out" / "packed" / str(CONTEXT))]) == 0
