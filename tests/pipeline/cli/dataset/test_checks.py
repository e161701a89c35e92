"""The commands for packed datasets: inspect, verify, trace."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

import longreel
from tests.pipeline.cli.conftest import CONTEXT
from tests.support.stored_files import file_of

pytestmark = pytest.mark.slow


def test_the_dataset_passes_verify_against_its_token_store(workspace: Path) -> None:
    dataset = workspace / "packed" / str(CONTEXT)
    assert longreel.main(["verify", str(dataset), "--tokens", str(workspace / "tokens")]) == 0


def test_trace_shows_the_source_of_a_token_and_its_frame_or_sentence(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = workspace / "packed" / str(CONTEXT)
    assert longreel.main(["inspect", str(dataset)]) == 0
    assert longreel.main(["trace", str(dataset), "--key", "val-000000000"]) == 0
    assert "CC0-1.0" in capsys.readouterr().out
    rows = pq.read_table(file_of(dataset, "documents.parquet")).to_pylist()
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
    printed = capsys.readouterr().out
    assert "⟦" in printed
    first_sentence = Path(text["uri"]).read_text().split(". ")[0]
    assert first_sentence.split()[-1] + "." in printed


def test_verify_returns_1_and_names_the_problem_of_a_damaged_dataset(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = Path(shutil.copytree(workspace / "packed" / str(CONTEXT), tmp_path / "dataset"))
    shard = next(dataset.glob("train-*.tar"))
    shard.write_bytes(shard.read_bytes()[:-1024])
    assert longreel.main(["verify", str(dataset)]) == 1
    assert shard.name in capsys.readouterr().err


def test_out_of_trace_needs_a_token(workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = workspace / "packed" / str(CONTEXT)
    assert longreel.main(["trace", str(dataset), "--key", "val-000000000", "--out", str(tmp_path / "a.png")]) == 2
    assert "--out needs --token" in capsys.readouterr().err
