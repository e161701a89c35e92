from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import longreel
from pipeline.cli.dataset.trace import Trace
from pipeline.dataset.removal.remove import remove_items
from pipeline.dataset.trace.frame_place import frame_place
from pipeline.dataset.trace.rows import copy_rows, row_of_token, sequence_rows
from pipeline.runtime.workspace import Workspace
from schemas.dataset import read_card
from schemas.storage.location import located
from schemas.vocab import TEXT, VISION
from tests.support.datasets.trace_dataset import BOOK, FRAMES, KEY, RATE, TraceDataset, a_frame, place, traced
from tests.support.servers.object_servers import ObjectServer
from tests.support.stages import Reports, rows_of
from tests.support.stored_files import file_of
from tokenizer.codec import FrameCodec
from tokenizer.text.training import TextTrainConfig, train_text_tokenizer

pytestmark = pytest.mark.slow


def test_trace_of_a_vision_token_writes_its_frame(
    trace_dataset: TraceDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = FrameCodec.load("small-128")
    monkeypatch.setattr(FrameCodec, "load", {"small-128": codec}.__getitem__)  # compile once
    key, token, number = a_frame(trace_dataset)
    picture = tmp_path / "picture.png"
    command = ["trace", str(trace_dataset.dataset), "--key", key, "--token", str(token)]
    assert longreel.main(command) == 0
    assert "--out picture.png writes the frame" in capsys.readouterr().out
    assert longreel.main([*command, "--out", str(picture)]) == 0
    output = capsys.readouterr().out
    assert f"{number} of 0..{FRAMES - 1}" in output
    assert f"{number / RATE:.2f} s" in output
    assert "CC-BY-4.0" in output
    assert "files/film" in output
    with Image.open(picture) as image:
        shown = np.asarray(image)
    expected = codec.decode(trace_dataset.codes[number : number + 1].astype(np.uint16))[0]
    assert shown.shape == (128, 128, 3)
    assert np.abs(shown.astype(int) - expected).max() <= 1  # rounding depends on the number of threads


def test_trace_of_a_text_token_shows_sentence_title_license_line_and_page(
    trace_dataset: TraceDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = trace_dataset.text.encode(BOOK)
    at = len(trace_dataset.text.encode(BOOK[: BOOK.index("sentence 3 on page 2")])) + 2
    row = next(r for r, _ in traced(trace_dataset, "files/book") if r.document_start + r.length > at + 1)
    token = at + 1 - row.document_start + row.start
    shard = row.shard.removesuffix(".tar")
    command = ["trace", str(trace_dataset.dataset), "--key", row.sequence, "--token", str(token), "--shard", shard]
    assert longreel.main(command) == 0
    output = re.sub("[⟦⟧]", "", capsys.readouterr().out)
    assert "This is sentence 3 on page 2." in output
    assert re.search(r"page +3 of 4", output)
    character = len(trace_dataset.text.decode(ids[:at]))
    assert re.search(rf"character +{character:,} *\n", output)
    assert re.search(rf"line +{1 + BOOK[:character].count(chr(10))} *\n", output)
    assert "CC0-1.0" in output
    assert "a shelf" in output
    assert "A \\u001b[31mred\\u001b[0m book" in output
    assert "\x1b" not in output


def test_a_cue_is_shown_with_its_time(trace_dataset: TraceDataset, capsys: pytest.CaptureFixture[str]) -> None:
    row = next(r for r, _ in traced(trace_dataset, "files/film") if r.modality != VISION and r.start_s == 3)
    token = str(row.start + row.length - len(trace_dataset.card.vocabulary.begin_vision) - 1)
    assert longreel.main(["trace", str(trace_dataset.dataset), "--key", row.sequence, "--token", token]) == 0
    assert "3.00..4.00 s" in capsys.readouterr().out


def test_trace_without_a_token_lists_all_spans(trace_dataset: TraceDataset, capsys: pytest.CaptureFixture[str]) -> None:
    key, _, _ = a_frame(trace_dataset)
    assert longreel.main(["trace", str(trace_dataset.dataset), "--key", key]) == 0
    output = capsys.readouterr().out
    rows = sequence_rows(located(trace_dataset.dataset), key)
    assert all(f"{row.start}..{row.end - 1}" in output for row in rows)
    assert "CC-BY-4.0" in output
    assert "\x1b" not in output


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--key", KEY, "--token", "200"], "token 200 of val-000000000 is padding: its last document ends at token"),
        (["--key", KEY, "--token", "256"], "token 256 is outside of val-000000000, which has the tokens 0..255"),
        (["--key", KEY, "--token", "-1"], "token -1 is outside of"),
        (["--key", "val-000000009"], "no sequence 'val-000000009'"),
        (["--key", KEY, "--shard", "train-000000-of-000001.tar"], "is in val-000000-of-000001-"),
        (["--key", KEY, "--shard", "../../etc/passwd"], "not in ../../etc/passwd"),
        (["--key", KEY, "--token", "1", "--out", "x.png"], "token 1 of val-000000000 is text: --out is for frames"),
        (["--key", KEY, "--token", "1", "--text-tokenizer", "nowhere.model"], "nowhere.model cannot be read"),
    ],
)
def test_trace_rejects_wrong_options(
    trace_dataset: TraceDataset, options: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert longreel.main(["trace", str(trace_dataset.dataset), *options]) == 1
    assert what in capsys.readouterr().err


def test_a_dataset_without_a_copy_of_its_text_tokenizer_needs_the_one_that_it_was_made_with(
    trace_dataset: TraceDataset, dataset_copy: TraceDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["trace", str(dataset_copy.dataset), "--key", KEY, "--token", "2"]
    assert longreel.main(command) == 0
    assert "⟧" in capsys.readouterr().out
    without = dataclasses.replace(dataset_copy.card, text_tokenizer=())
    (dataset_copy.dataset / "dataset.json").write_text(without.to_json())
    assert longreel.main(command) == 0
    assert "--text-tokenizer FILE shows it" in capsys.readouterr().out
    assert longreel.main([*command, "--text-tokenizer", str(trace_dataset.model)]) == 0
    assert "⟧" in capsys.readouterr().out
    other = train_text_tokenizer(["other words"], tmp_path / "other.model", TextTrainConfig(vocab_size=512))
    assert longreel.main([*command, "--text-tokenizer", str(other)]) == 1
    assert "give that tokenizer with --text-tokenizer" in capsys.readouterr().err


def test_a_vqgan_that_did_not_make_the_dataset_is_rejected(
    dataset_copy: TraceDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    vocabulary = dataclasses.replace(dataset_copy.card.vocabulary, vision_sha256="0" * 64)
    (dataset_copy.dataset / "dataset.json").write_text(
        dataclasses.replace(dataset_copy.card, vocabulary=vocabulary).to_json()
    )
    key, token, _ = a_frame(dataset_copy)
    picture = dataset_copy.dataset / "picture.png"
    command = ["trace", str(dataset_copy.dataset), "--key", key, "--token", str(token), "--out", str(picture)]
    assert longreel.main(command) == 1
    output = capsys.readouterr().err
    assert f"frames were encoded with {'0' * 64}" in output
    assert "--vision" in output
    assert not picture.exists()


def test_trace_after_another_document_was_removed(dataset_copy: TraceDataset) -> None:
    book = next(row for row, _ in traced(dataset_copy, "files/book"))
    remove_items(dataset_copy.dataset, [book.document_id])
    left = dataclasses.replace(dataset_copy, card=read_card(dataset_copy.dataset))
    found = [frame_place(row, copy_rows(located(left.dataset), row), row.start, left.card).number
             for row, _ in traced(left, "files/film") if row.modality == VISION]  # fmt: skip
    assert found[0] == 0
    assert found == sorted(found)
    row, _ = next(traced(left, "files/short"))
    assert row_of_token(sequence_rows(located(left.dataset), row.sequence), row.start, left.card) == row
    assert place(left, row, 1).character == 0


def test_trace_shows_the_time_range_of_a_clip(
    clips: tuple[Workspace, Reports], capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, _ = clips
    dataset = workspace.packed("512").local()
    row = rows_of(workspace, "three.mp4")[1]
    ledger = pq.read_table(file_of(dataset, "documents.parquet")).to_pylist()
    span = next(r for r in ledger if r["document_id"] == row["document_id"] and r["modality"] == 1)
    capsys.readouterr()
    Trace(dataset=workspace.packed("512"), key=span["sequence"], token=span["start"])(())
    output = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.strip())
    assert output["clip"] == f"2.00..5.00 s of {row['document_id'][:64]}"
    assert output["time"] == f"{span['start_s']:.2f} s"
    Trace(dataset=workspace.packed("512"), key=span["sequence"])(())
    assert f"{row['document_id'][:12]}#00001" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["s3", "gcs"])
def test_commands_read_a_dataset_in_a_bucket_as_from_disk(
    trace_dataset: TraceDataset, kind: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    server: ObjectServer = request.getfixturevalue(kind)
    there = server.bucket() / "sets" / "256"
    for file in located(trace_dataset.dataset).walk():
        (there / file.relative_to(located(trace_dataset.dataset))).write(file.read())
    film = next(row for row, _ in traced(trace_dataset, "files/film") if row.modality == VISION)
    cue = next(row for row, _ in traced(trace_dataset, "files/film") if row.modality == TEXT)
    commands = [["inspect"], ["trace", "--key", KEY]]
    commands += [["trace", "--key", row.sequence, "--token", str(row.start)] for row in (film, cue)]
    for name, *options in commands:
        printed = []
        for where in (there, trace_dataset.dataset):
            assert longreel.main([name, str(where), *options]) == 0
            printed.append(capsys.readouterr().out)
        assert printed[0] == printed[1]
        assert printed[0]
    assert longreel.main(["verify", str(there)]) == 0
    (there / "notes.txt").write(b"of a user")
    assert longreel.main(["verify", str(there)]) == 1
    assert "notes.txt: an object that does not belong here" in capsys.readouterr().err
