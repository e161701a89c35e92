"""`longreel run`: from files on disk to a dataset that other libraries read."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset

import longreel
from pipeline.runtime.token_store import TokenStore
from pipeline.runtime.workspace import Workspace
from schemas.dataset import read_card
from schemas.packed import check_spans, expand
from schemas.storage.location import located
from tests.pipeline.cli.conftest import CONTEXT
from tests.support.servers.command_server import CommandServer
from tests.support.stored_files import file_of

pytestmark = pytest.mark.slow


def test_when_every_item_is_rejected_the_reasons_are_written_and_no_text_tokenizer_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").touch()
    out = tmp_path / "out"
    assert longreel.main(["run", str(tmp_path / "in"), "--out", str(out), "--context", "64"]) == 1
    assert "every item was rejected" in capsys.readouterr().err
    assert pq.read_table(out / "quarantine.parquet")["reason"].to_pylist() == ["empty"]
    assert not (out / "tokenizers").exists()


def test_a_second_command_at_once_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("text")
    with Workspace.open(tmp_path / "out").locked():
        assert longreel.main(["run", str(tmp_path / "a.txt"), "--out", str(tmp_path / "out"), "--context", "64"]) == 1
        assert longreel.main(["pack", "--out", str(tmp_path / "out"), "--context", "64"]) == 1
    assert capsys.readouterr().err.count("is in use by another longreel command") == 2


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
    ledger = pq.read_table(file_of(workspace / "packed" / str(CONTEXT), "documents.parquet"))
    lengths = ledger.group_by("document_id").aggregate([("length", "sum")]).to_pylist()
    stored = TokenStore(Workspace.existing(located(workspace)).tokens).table().to_pylist()
    assert {r["document_id"]: r["length_sum"] for r in lengths} == {r["document_id"]: r["length"] for r in stored}
    assert set(ledger["license"].to_pylist()) == {"CC0-1.0"}


def test_a_second_run_reports_that_there_is_nothing_to_do(workspace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    manifest = tomllib.loads((workspace / "logs" / "run.toml").read_text())["inputs"]
    before = {p: p.stat().st_mtime_ns for p in (workspace / "packed").rglob("*")}
    assert longreel.main(["run", *manifest, "--out", str(workspace), "--context", str(CONTEXT)]) == 0
    printed = capfd.readouterr().err
    assert printed.count("nothing to do") == 5  # survey, dedup, select, tokenize, pack
    assert {p: p.stat().st_mtime_ns for p in (workspace / "packed").rglob("*")} == before


def test_a_file_size_limit_is_reported_and_loses_nothing_that_was_made(
    workspace: Path, commands: CommandServer, tmp_path: Path
) -> None:
    manifest = tomllib.loads((workspace / "logs" / "run.toml").read_text())["inputs"]
    command = ["run", *manifest, "--out", str(tmp_path / "out"), "--context", str(CONTEXT), "--units", "4"]
    assert commands.run(command, file_size=9 * 1024) == 1
    printed = commands.stderr.read_text()
    assert "cannot write" in printed
    assert "Finished work is kept" in printed
    assert "Traceback" not in printed
    assert longreel.main(command) == 0
    assert longreel.main(["verify", str(tmp_path / "out" / "packed" / str(CONTEXT))]) == 0
