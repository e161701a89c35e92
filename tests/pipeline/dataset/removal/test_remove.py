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

from pipeline.dataset.commit import delete_dataset
from pipeline.dataset.removal.remove import plan_removal, remove_items
from pipeline.dataset.verify.verify import verify
from pipeline.runtime.token_store import TokenStore
from schemas.dataset import read_card
from schemas.dataset_files import INDEX
from schemas.dataset_files import LEDGER as LEDGER_FILE
from schemas.errors import DatasetError, StorageError
from schemas.records import LEDGER, item_of
from schemas.storage.location import Location, located
from tests.support.datasets.packed_datasets import make_dataset, reseal
from tests.support.datasets.removal_datasets import (
    DOCUMENTS,
    FEW,
    FULL,
    GONE,
    Killed,
    assert_all_tokens,
    assert_removed,
    contents,
    killed_at,
)
from tests.support.stages import Models, rows_of, run_on_clips
from tests.support.stored_files import file_of, index_of, stored_file
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
def test_the_documents_are_removed_and_nothing_else(
    corpus: tuple[list[StoredDocument], list[StoredDocument], int],
) -> None:
    documents, gone, shard_bytes = corpus
    if not gone:
        return
    with tempfile.TemporaryDirectory() as folder:
        before = make_dataset(Path(folder), documents, shard_bytes=shard_bytes)
        once, twice = (Path(shutil.copytree(before, Path(folder) / name)) for name in ("once", "twice"))
        remove_items(once, [document.id for document in gone])
        store = TokenStore(located(Path(folder) / "tokens"))
        assert_removed(before, once, gone, store)
        assert_all_tokens(once, [d for d in documents if d not in gone])
        for document in gone:
            remove_items(twice, [document.id])
        assert_removed(before, twice, gone, store)
        cards = [read_card(folder) for folder in (once, twice)]
        assert cards[0].shards == cards[1].shards
        assert all(cards[0].files[name] == cards[1].files[name] for name in (INDEX, LEDGER_FILE))


def test_the_trainer_reads_every_remaining_sequence(root: Path, dataset: Path) -> None:
    remove_items(dataset, [document.id for document in GONE])
    split = PackedSplit([dataset], "train")
    assert len(split) == read_card(dataset).splits["train"].sequences
    tokens = sum(int(spans["length"].sum()) for _, spans in map(split.read, range(len(split))))
    assert tokens == read_card(dataset).splits["train"].tokens
    assert split.fingerprint != PackedSplit([root / "packed" / "64"], "train").fingerprint


def test_shards_and_splits_without_sequences_are_removed(dataset: Path) -> None:
    held_out = [document for document in DOCUMENTS if document.split == "val"]
    remove_items(dataset, [document.id for document in held_out])
    assert not list(dataset.glob("val-*.tar"))
    assert set(read_card(dataset).splits) == {"train"}
    assert verify(dataset).problems == ()
    longest_first = sorted(DOCUMENTS, key=lambda document: -len(document.tokens))
    train = [document.id for document in longest_first if document.split == "train"]
    shards = len(list(dataset.glob("*.tar")))
    remove_items(dataset, train[:-1])
    assert len(list(dataset.glob("*.tar"))) < shards
    assert verify(dataset).problems == ()


def test_a_dataset_of_which_nothing_remains_is_deleted(dataset: Path) -> None:
    found = remove_items(dataset, [document.id for document in DOCUMENTS])
    assert found is not None
    assert found.card is None
    assert list(dataset.parent.iterdir()) == []


def test_items_that_a_dataset_does_not_have_change_nothing(dataset: Path) -> None:
    remove_items(dataset, [DOCUMENTS[0].id])
    before = contents(dataset)
    assert remove_items(dataset, [DOCUMENTS[0].id, "f" * 64]) is None
    assert contents(dataset) == before


def test_a_plan_states_the_change_and_writes_nothing(dataset: Path) -> None:
    before, items = contents(dataset), [document.id for document in GONE]
    planned = plan_removal(dataset, items)
    assert planned is not None
    assert contents(dataset) == before
    removed = remove_items(dataset, items)
    assert removed is not None
    assert list(removed.lines()) == list(planned.lines())
    assert "documents removed: 2; sequences repacked: " in next(planned.lines())


def test_files_that_change_are_recorded_and_others_are_kept(dataset: Path) -> None:
    (dataset / "notes.md").write_text("of a user")
    left = {"train-000000-of-000001-0123456789ab.tar", ".train-000000-of-000001.tar.0123abcd.tmp"}
    for name in left:
        (dataset / name).write_text("of a killed process")
    before, recorded = contents(dataset), dict[str, str | None]()
    remove_items(dataset, [FULL.id], record=lambda path, sha256: recorded.update({path.name: sha256}))
    after = contents(dataset)
    names = before.keys() & after.keys()
    assert {name for name in names if before[name] != after[name]} <= recorded.keys()
    assert after["notes.md"] == b"of a user"
    assert before.keys() - after.keys() <= recorded.keys()
    assert left <= recorded.keys() - after.keys()
    assert recorded["dataset.json"] is None
    assert after.keys() == {file.name for file in read_card(dataset).stored} | {"dataset.json", "notes.md"}


@pytest.mark.parametrize("kind", ["documents-*.parquet", "index-*.json", "*.tar"])
def test_a_modified_dataset_is_rejected_and_unchanged(dataset: Path, kind: str) -> None:
    name = min(dataset.glob(kind)).name
    data = bytearray((dataset / name).read_bytes())
    data[len(data) // 3] ^= 1
    (dataset / name).write_bytes(data)
    before = contents(dataset)
    with pytest.raises(DatasetError, match="verify"):
        remove_items(dataset, [document.id for document in DOCUMENTS[:20]])
    assert contents(dataset) == before


def test_a_shard_outside_of_the_directory_is_not_read_or_removed(dataset: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.tar"
    shutil.copy(min(dataset.glob("*.tar")), outside)
    index = json.loads(file_of(dataset, "index.json").read_text())
    index["shardlist"][0]["url"] = "../outside.tar"
    file_of(dataset, "index.json").write_text(json.dumps(index))
    card = read_card(dataset)
    files = {**card.files, INDEX: stored_file(dataset, INDEX)}
    (dataset / "dataset.json").write_text(dataclasses.replace(card, files=files).to_json())
    with pytest.raises(DatasetError, match="points outside the folder"):
        remove_items(dataset, [DOCUMENTS[2].id])
    assert outside.exists()


def test_verify_reports_a_document_in_the_dataset_that_was_taken_down(dataset: Path) -> None:
    card = dataclasses.replace(read_card(dataset), taken_down=(DOCUMENTS[0].id,))
    (dataset / "dataset.json").write_text(card.to_json())
    assert any("which the card lists as taken down" in p.what for p in verify(dataset).problems)


def test_verify_allows_gaps_only_if_documents_were_removed(root: Path, dataset: Path) -> None:
    remove_items(dataset, [FULL.id])
    assert verify(dataset).problems == ()
    assert verify(dataset, store=TokenStore(located(root / "tokens"))).problems == ()
    (dataset / "dataset.json").write_text(dataclasses.replace(read_card(dataset), taken_down=()).to_json())
    problems = verify(dataset).problems
    assert any("expected the normalized tar header" in p.what for p in problems)


def test_verify_reports_keys_and_shards_out_of_order(dataset: Path) -> None:
    remove_items(dataset, [FULL.id])
    shards = index_of(dataset)
    first, second = (dataset / shards[i].url for i in (0, 1))
    data, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(data)
    swapped = [dataclasses.replace(b, url=a.url) for a, b in ((shards[0], shards[1]), (shards[1], shards[0]))] + shards[
        2:
    ]
    index = json.loads(file_of(dataset, "index.json").read_text())
    index["shardlist"] = [dataclasses.asdict(s) | {"dataset": s.split} for s in swapped]
    file_of(dataset, "index.json").write_text(json.dumps(index, separators=(",", ":")) + "\n")
    reseal(dataset)
    assert any("expected the normalized tar header" in p.what for p in verify(dataset).problems)
    index["shardlist"][:2] = index["shardlist"][1::-1]
    file_of(dataset, "index.json").write_text(json.dumps(index, separators=(",", ":")) + "\n")
    reseal(dataset)
    assert any("shards are missing, misnamed or out of order" in p.what for p in verify(dataset).problems)


@pytest.mark.parametrize("ids", [("b", "a"), ("a", "a"), (5,), ("",)])
def test_verify_reports_an_invalid_list_of_documents_that_were_taken_down(dataset: Path, ids: tuple[Any, ...]) -> None:
    (dataset / "dataset.json").write_text(dataclasses.replace(read_card(dataset), taken_down=ids).to_json())
    assert verify(dataset).problems[0].file == "dataset.json"


def test_an_item_is_removed_with_all_its_clips(shots_folder: Path, models: Models, tmp_path: Path) -> None:
    workspace, _ = run_on_clips(shots_folder, tmp_path / "out", models)
    dataset, store = workspace.packed("512").local(), TokenStore(workspace.tokens)
    item = item_of(rows_of(workspace, "three.mp4")[0]["document_id"])

    def documents() -> set[str]:
        return set(pq.read_table(file_of(dataset, "documents.parquet"), schema=LEDGER)["document_id"].to_pylist())

    before = documents()
    remove_items(dataset, [item])
    assert documents() == {name for name in before if item_of(name) != item}
    assert not verify(dataset, store=store).problems
    assert read_card(dataset).taken_down == tuple(f"{item}#0000{n}" for n in range(3))


def test_a_dataset_is_complete_after_a_kill_at_any_step_and_the_same_call_completes_the_removal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [FEW[1].id, FULL.id, FEW[-1].id]
    before = make_dataset(tmp_path / "root", FEW, shard_bytes=6_000)
    whole = Path(shutil.copytree(before, tmp_path / "whole" / "64"))
    with killed_at(10_000, monkeypatch) as done:
        remove_items(whole, items)
    expected, untouched = contents(whole), contents(before)
    found = []
    for step in range(len(done)):
        dataset = Path(shutil.copytree(before, tmp_path / f"{step}" / "64"))
        with killed_at(step, monkeypatch), pytest.raises(Killed):
            remove_items(dataset, items)
        assert verify(dataset).problems == ()
        named = {"dataset.json", *(file.name for file in read_card(dataset).stored)}
        found.append({name: data for name, data in contents(dataset).items() if name in named})
        remove_items(dataset, items)
        assert contents(dataset) == expected
        shutil.rmtree(dataset.parent)
    replaced = found.index(expected)
    assert found == [untouched] * replaced + [expected] * (len(done) - replaced)
    assert 0 < replaced < len(done) - 1


def test_a_deletion_that_was_killed_at_any_step_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [document.id for document in FEW]
    before = make_dataset(tmp_path / "root", FEW, shard_bytes=6_000)
    whole = Path(shutil.copytree(before, tmp_path / "whole" / "64"))
    with killed_at(10_000, monkeypatch) as done:
        remove_items(whole, items)
    assert not whole.exists()
    for step in range(len(done)):
        dataset = Path(shutil.copytree(before, tmp_path / f"{step}" / "64"))
        with killed_at(step, monkeypatch), pytest.raises(Killed):
            remove_items(dataset, items)
        if (dataset / "dataset.json").exists():
            assert contents(dataset) == contents(before)
        delete_dataset(located(dataset))
        assert not dataset.exists()


def test_a_dataset_that_another_command_replaced_meanwhile_is_not_changed(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path(shutil.copytree(dataset, tmp_path / "other"))
    remove_items(other, [FULL.id])

    def replaced(path: Location, sha256: str | None) -> None:
        if path.name == "dataset.json":
            for file in other.iterdir():
                shutil.copy(file, dataset)

    with pytest.raises(StorageError, match="was changed by another command; run the same command again"):
        remove_items(dataset, [DOCUMENTS[0].id], record=replaced)
    assert contents(dataset) == contents(other)
    assert verify(dataset).problems == ()
