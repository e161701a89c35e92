from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import longreel
from pipeline.dataset.forget.documents import find_documents
from pipeline.dataset.forget.forget import forget, plan, prepare
from pipeline.dataset.verify.verify import verify
from pipeline.runtime.token_store import TokenStore
from pipeline.runtime.workspace import Workspace
from pipeline.tokenize.clips import ClipConfig
from schemas.dataset import read_card, read_index
from schemas.errors import ConfigError, DatasetError
from schemas.fingerprint import sha256_file
from schemas.records import LEDGER, item_of
from tests.support.forget_datasets import (
    DOCUMENTS,
    FULL,
    GONE,
    assert_all_tokens,
    assert_forgotten,
    contents,
)
from tests.support.packed_datasets import make_dataset, reseal
from tests.support.stages import Models, rows_of, run_on_clips
from tests.support.token_stores import StoredDocument, book, image, video
from trainer.data.shards import PackedSplit

pytestmark = pytest.mark.slow


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[StoredDocument], list[StoredDocument], int]:
    """Draw documents, some of them (not all) to remove, and the size of a shard in bytes."""
    lengths = draw(st.lists(st.integers(2, 200), max_size=4))
    frames = draw(st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=3), max_size=4))
    splits = st.sampled_from(["train", "train", "val"])
    documents = [book(f"book {i}", n, split=draw(splits)) for i, n in enumerate(lengths)]
    documents += [video(f"video {i}", runs, split=draw(splits)) for i, runs in enumerate(frames)]
    documents.append(image("image"))
    gone = draw(st.lists(st.sampled_from(documents), min_size=1, max_size=3, unique_by=lambda d: d.id))
    return documents, [d for d in gone if len(gone) < len(documents)], draw(st.integers(1, 6)) * 4_000


@given(corpus=corpora())
@settings(deadline=None, max_examples=15)
def test_forget_removes_the_documents_and_nothing_else(
    corpus: tuple[list[StoredDocument], list[StoredDocument], int],
) -> None:
    documents, gone, shard_bytes = corpus
    if not gone:
        return
    with tempfile.TemporaryDirectory() as folder:
        before = make_dataset(Path(folder), documents, shard_bytes=shard_bytes)
        once, twice = (Path(shutil.copytree(before, Path(folder) / name)) for name in ("once", "twice"))
        forget(once, [document.id for document in gone])
        store = TokenStore(Path(folder) / "tokens")
        assert_forgotten(before, once, gone, store)
        assert_all_tokens(once, [d for d in documents if d not in gone])
        for document in gone:
            forget(twice, [document.id])
        assert_forgotten(before, twice, gone, store)
        same = ("index.json", "documents.parquet", *(shard.url for shard in read_index(once)))
        assert all((once / name).read_bytes() == (twice / name).read_bytes() for name in same)


def test_the_trainer_reads_every_remaining_sequence(root: Path, dataset: Path) -> None:
    forget(dataset, [document.id for document in GONE])
    split = PackedSplit([dataset], "train")
    assert len(split) == read_card(dataset).splits["train"].sequences
    tokens = sum(int(spans["length"].sum()) for _, spans in map(split.read, range(len(split))))
    assert tokens == read_card(dataset).splits["train"].tokens
    assert split.fingerprint != PackedSplit([root / "packed" / "64"], "train").fingerprint


def test_shards_and_splits_without_sequences_are_removed(dataset: Path) -> None:
    held_out = [document for document in DOCUMENTS if document.split == "val"]
    forget(dataset, [document.id for document in held_out])
    assert not list(dataset.glob("val-*.tar"))
    assert set(read_card(dataset).splits) == {"train"}
    assert verify(dataset).problems == ()
    longest_first = sorted(DOCUMENTS, key=lambda document: -len(document.tokens))
    train = [document.id for document in longest_first if document.split == "train"]
    shards = len(list(dataset.glob("*.tar")))
    forget(dataset, train[:-1])
    assert len(list(dataset.glob("*.tar"))) < shards
    assert verify(dataset).problems == ()
    with pytest.raises(ConfigError, match="no sequence would remain"):
        forget(dataset, train[-1:])
    assert verify(dataset).problems == ()
    assert not (dataset / ".forget").exists()


def test_a_forgotten_document_is_reported_and_nothing_changes(dataset: Path, capfd: pytest.CaptureFixture[str]) -> None:
    forget(dataset, [DOCUMENTS[0].id])
    before = contents(dataset)
    capfd.readouterr()
    assert longreel.main(["forget", str(dataset), DOCUMENTS[0].id, DOCUMENTS[0].id[:9]]) == 0
    output = capfd.readouterr().err
    assert output.count("was already forgotten") == 2
    assert contents(dataset) == before


def test_a_dry_run_prints_the_change_and_writes_nothing(dataset: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before, items = contents(dataset), [document.id for document in GONE]
    assert longreel.main(["forget", str(dataset), *items, "--dry-run"]) == 0
    would = [line for line in capfd.readouterr().err.splitlines() if "--dry-run" not in line]
    assert contents(dataset) == before
    assert longreel.main(["forget", str(dataset), *items]) == 0
    did = capfd.readouterr().err.splitlines()
    assert did[:-1] == would
    assert "still contain these documents" in did[-1]
    assert any("repacked" in line for line in did)


@pytest.mark.parametrize("kind", ["documents.parquet", "index.json", "*.tar"])
def test_a_modified_dataset_is_rejected_and_unchanged(dataset: Path, kind: str) -> None:
    name = min(dataset.glob(kind)).name
    data = bytearray((dataset / name).read_bytes())
    data[len(data) // 3] ^= 1
    (dataset / name).write_bytes(data)
    before = contents(dataset)
    with pytest.raises(DatasetError, match="verify"):
        forget(dataset, [document.id for document in DOCUMENTS[:20]])
    assert contents(dataset) == before
    assert not (dataset / ".forget").exists()


def test_a_shard_outside_of_the_directory_is_not_read_or_removed(dataset: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.tar"
    shutil.copy(min(dataset.glob("*.tar")), outside)
    index = json.loads((dataset / "index.json").read_text())
    index["shardlist"][0]["url"] = "../outside.tar"
    (dataset / "index.json").write_text(json.dumps(index))
    card = read_card(dataset)
    sha256 = sha256_file(dataset / "index.json")
    (dataset / "dataset.json").write_text(dataclasses.replace(card, index_sha256=sha256).to_json())
    with pytest.raises(DatasetError, match="points outside the folder"):
        forget(dataset, [DOCUMENTS[2].id])
    assert outside.exists()


def test_a_concurrent_command_is_rejected(tmp_path: Path) -> None:
    Workspace.open(tmp_path / "out")
    dataset = make_dataset(tmp_path / "out", DOCUMENTS)
    with Workspace.existing(tmp_path / "out").locked(), pytest.raises(ConfigError, match="another longreel command"):
        forget(dataset, [DOCUMENTS[2].id])
    forget(dataset, [DOCUMENTS[2].id])
    assert verify(dataset).problems == ()


def test_verify_reports_a_forgotten_document_in_the_dataset(dataset: Path) -> None:
    card = dataclasses.replace(read_card(dataset), forgotten=(DOCUMENTS[0].id,))
    (dataset / "dataset.json").write_text(card.to_json())
    assert any("which the card lists as forgotten" in p.what for p in verify(dataset).problems)


def test_verify_allows_gaps_only_if_documents_were_forgotten(root: Path, dataset: Path) -> None:
    forget(dataset, [FULL.id])
    assert verify(dataset).problems == ()
    assert verify(dataset, store=TokenStore(root / "tokens")).problems == ()
    (dataset / "dataset.json").write_text(dataclasses.replace(read_card(dataset), forgotten=()).to_json())
    problems = verify(dataset).problems
    assert any("expected the normalized tar header" in p.what for p in problems)


def test_verify_reports_keys_and_shards_out_of_order(dataset: Path) -> None:
    forget(dataset, [FULL.id])
    shards = read_index(dataset)
    first, second = (dataset / shards[i].url for i in (0, 1))
    data, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(data)
    swapped = [dataclasses.replace(b, url=a.url) for a, b in ((shards[0], shards[1]), (shards[1], shards[0]))] + shards[
        2:
    ]
    index = json.loads((dataset / "index.json").read_text())
    index["shardlist"] = [dataclasses.asdict(s) | {"dataset": s.split} for s in swapped]
    (dataset / "index.json").write_text(json.dumps(index, separators=(",", ":")) + "\n")
    reseal(dataset)
    assert any("expected the normalized tar header" in p.what for p in verify(dataset).problems)
    index["shardlist"][:2] = index["shardlist"][1::-1]
    (dataset / "index.json").write_text(json.dumps(index, separators=(",", ":")) + "\n")
    reseal(dataset)
    assert any("shards are missing, misnamed or out of order" in p.what for p in verify(dataset).problems)


@pytest.mark.parametrize("ids", [("b", "a"), ("a", "a"), (5,), ("",)])
def test_verify_reports_an_invalid_list_of_forgotten_documents(dataset: Path, ids: tuple[Any, ...]) -> None:
    (dataset / "dataset.json").write_text(dataclasses.replace(read_card(dataset), forgotten=ids).to_json())
    assert verify(dataset).problems[0].file == "dataset.json"


def test_forget_removes_a_single_clip_or_an_item_with_all_its_clips(
    shots_folder: Path, models: Models, tmp_path: Path
) -> None:
    workspace, _ = run_on_clips(shots_folder, tmp_path / "out", models)
    dataset, store = workspace.packed("512"), TokenStore(workspace.tokens)
    item = item_of(rows_of(workspace, "three.mp4")[0]["document_id"])
    assert not verify(dataset, store=store).problems

    def documents() -> set[str]:
        return set(pq.read_table(dataset / "documents.parquet", schema=LEDGER)["document_id"].to_pylist())

    before = documents()
    forget(dataset, [f"{item}#00001"])
    assert documents() == before - {f"{item}#00001"}
    assert not verify(dataset, store=store).problems
    # The removal of another clip is interrupted; then all clips of the item are selected by a prefix of its id.
    card = read_card(dataset)
    prepare(dataset, card, plan(dataset, card, find_documents(dataset / "documents.parquet", [f"{item}#00002"])))
    (dataset / "dataset.json").unlink()
    forget(dataset, [item[:10]])
    assert documents() == {name for name in before if item_of(name) != item}
    assert not verify(dataset, store=store).problems
    assert read_card(dataset).forgotten == tuple(f"{item}#0000{n}" for n in range(3))
    with pytest.raises(ConfigError, match="made to forget 1 documents"):  # also if the video is not split into clips
        run_on_clips(shots_folder, workspace.root, models, ClipConfig())
