from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import longreel
from pipeline.dataset.forget.forget import finish, forget, plan, prepare
from pipeline.dataset.forget.plan import find_documents
from pipeline.dataset.names import key_of
from pipeline.dataset.reader import Sequences
from pipeline.dataset.verify.verify import verify
from pipeline.runtime.token_store import TokenStore
from pipeline.runtime.workspace import Workspace
from pipeline.tokenize.clips import ClipConfig
from schemas.dataset import PARTS, read_card, read_index
from schemas.errors import ConfigError, DatasetError
from schemas.fingerprint import sha256_file
from schemas.packed import expand
from schemas.records import LEDGER, item_of
from tests.pipeline.packing.test_shards import samples
from tests.support.packed_datasets import make_dataset, reseal
from tests.support.stages import Models, rows_of, run_on_clips
from tests.support.token_stores import StoredDocument, book, image, video
from trainer.data.shards import PackedSplit

pytestmark = pytest.mark.slow

DOCUMENTS = [
    *(book(f"book {i}", 17 * i + 40) for i in range(6)),
    *(video(f"video {i}", [i + 1, 3]) for i in range(8)),
    *(image(f"image {i}", caption=3 + i) for i in range(4)),
    *(video(f"full {i}", [12], cue=1) for i in range(3)),  # each fills a sequence
    video("long", [40, 7, 30], cue=20),
    book("held out", 90, split="val"),
    video("held out too", [5], split="val"),
]
GONE = (DOCUMENTS[2], DOCUMENTS[9])
FULL, LONG = DOCUMENTS[18], DOCUMENTS[21]
FEW = [book("a", 60), book("b", 90), *(video(f"{i}", [i + 3]) for i in range(5)), FULL, DOCUMENTS[-1]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    make_dataset(root, DOCUMENTS)
    return root


@pytest.fixture
def dataset(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root / "packed" / "64", tmp_path / "64"))


def contents(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def blocks(directory: Path) -> dict[str, bytes]:
    """Return the bytes of every sequence by its key."""
    found = {}
    for shard in read_index(directory):
        data = (directory / shard.url).read_bytes()
        for start, end in pairwise(shard.offsets):
            found[key_of(data[start:end])] = data[start:end]
    return found


def keys_with(directory: Path, documents: Sequence[StoredDocument]) -> set[str]:
    ids = {document.id for document in documents}
    rows = pq.read_table(directory / "documents.parquet", columns=["sequence", "document_id"]).to_pylist()
    return {row["sequence"] for row in rows if row["document_id"] in ids}


def assert_all_tokens(directory: Path, documents: Sequence[StoredDocument]) -> None:
    """Every token of the documents is there once, and no other is."""
    back = {d.id: np.full(len(d.tokens), -1) for d in documents}
    for split in ("train", "val"):
        for sample in samples(directory, split):
            at = 0
            for chunk in sample["json"]["documents"]:
                place = back[chunk["id"]][chunk["start"] : chunk["start"] + chunk["length"]]
                assert (place == -1).all()
                place[:] = sample["tokens.npy"][at : at + chunk["length"]]
                at += chunk["length"]
            assert not sample["tokens.npy"][at:].any()
            assert np.count_nonzero(expand(sample["spans.npy"], 64).segment_ids) == at
    for document in documents:
        assert np.array_equal(back[document.id], document.tokens)


def assert_forgotten(before: Path, after: Path, gone: Sequence[StoredDocument], store: TokenStore) -> None:
    """Check `after` against the dataset that it was made of."""
    report = verify(after, store=store)
    assert report.problems == ()
    old, new, touched = blocks(before), blocks(after), keys_with(before, gone)
    assert not keys_with(after, gone)
    assert {k: v for k, v in old.items() if k not in touched} == {k: v for k, v in new.items() if k not in touched}
    assert set(new) <= set(old)
    for shard in read_index(before):
        data = (before / shard.url).read_bytes()
        if not any(key_of(data[at:]) in touched for at in shard.offsets[:-1]):
            assert (after / shard.url).read_bytes() == data
    card = read_card(after)
    assert set(card.forgotten) == {*read_card(before).forgotten, *(document.id for document in gone)}
    assert card.fingerprint != read_card(before).fingerprint
    listed = {shard.url for shard in read_index(after)} | {"index.json", "documents.parquet", "croissant.json"}
    assert {path.name for path in after.iterdir()} == listed | {"dataset.json"}


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[StoredDocument], list[StoredDocument], int]:
    """Draw documents, some of them (not all) to forget, and the size of a shard."""
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
def test_what_is_forgotten_goes_and_nothing_else(
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


def test_the_card_counts_what_is_left(root: Path, dataset: Path) -> None:
    before = read_card(dataset).splits["train"]
    forget(dataset, [document.id for document in GONE])
    after, held_out = read_card(dataset).splits["train"], read_card(dataset).splits["val"]
    assert after.documents == before.documents - 2
    assert after.tokens == before.tokens - sum(len(d.tokens) for d in GONE)
    assert after.fill == after.tokens / (after.sequences * 64)
    assert after.fill <= after.best_fill <= 1
    assert held_out == read_card(root / "packed" / "64").splits["val"]


def test_the_bound_on_the_fill_stays_near_what_is_known(tmp_path: Path) -> None:
    """Clips of which only two go into a sequence: the card's bound knows it, and still does without one of them."""
    dataset = make_dataset(tmp_path, [video(f"clip {i}", [3], cue=4) for i in range(20)])  # 22 tokens each
    before = read_card(dataset).splits["train"]
    assert before.best_fill == 44 / 64
    forget(dataset, [video("clip 7", [3]).id])
    after = read_card(dataset).splits["train"]
    assert (after.sequences, after.tokens) == (10, 19 * 22)
    assert after.best_fill == 19 * 22 / (9 * 64)


def test_the_trainer_reads_every_sequence_that_is_left(root: Path, dataset: Path) -> None:
    forget(dataset, [document.id for document in GONE])
    split = PackedSplit([dataset], "train")
    assert len(split) == read_card(dataset).splits["train"].sequences
    tokens = sum(int(spans["length"].sum()) for _, spans in map(split.read, range(len(split))))
    assert tokens == read_card(dataset).splits["train"].tokens
    assert split.fingerprint != PackedSplit([root / "packed" / "64"], "train").fingerprint


def test_a_sequence_is_found_by_its_key_across_the_gaps(root: Path, dataset: Path) -> None:
    forget(dataset, [FULL.id])
    left = blocks(dataset)
    assert len(left) < len(blocks(root / "packed" / "64"))
    sequences = Sequences(dataset, read_card(dataset))
    for sample in [*samples(dataset, "train"), *samples(dataset, "val")]:
        found = sequences.read(sample["shard"], sample["key"])
        assert np.array_equal(found.tokens, sample["tokens.npy"])
        assert np.array_equal(found.tokens[3:9], sequences.tokens(sample["shard"], sample["key"], 3, 6))
    gap = min(set(blocks(root / "packed" / "64")) - set(left))
    with pytest.raises(DatasetError, match="does not hold"):
        sequences.read(next(s.url for s in read_index(dataset)), gap)


def test_a_shard_and_a_split_of_which_nothing_is_left_are_removed(dataset: Path) -> None:
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
    with pytest.raises(ConfigError, match="no sequence would be left"):
        forget(dataset, train[-1:])
    assert verify(dataset).problems == ()
    assert not (dataset / ".forget").exists()


def test_a_document_is_named_by_its_id_a_beginning_of_it_or_its_uri(dataset: Path) -> None:
    items = [DOCUMENTS[0].id, DOCUMENTS[1].id[:8], "files/video 3"]
    forget(dataset, items)
    assert read_card(dataset).forgotten == tuple(sorted([DOCUMENTS[0].id, DOCUMENTS[1].id, video("video 3", [1]).id]))


def test_an_address_means_every_document_that_has_it(tmp_path: Path) -> None:
    facts = {"uri": "files/both"}
    both = [dataclasses.replace(book(name, 40), facts=facts) for name in ("a", "b")]
    dataset = make_dataset(tmp_path, [*both, book("c", 50)])
    forget(dataset, ["files/both"])
    assert read_card(dataset).forgotten == tuple(sorted(d.id for d in both))


@pytest.mark.parametrize(
    ("items", "what"),
    [
        ([DOCUMENTS[0].id, "nowhere.mp4", "f" * 64], "'nowhere.mp4' is neither .*'ffffffff"),
        ([DOCUMENTS[0].id[:7]], "is neither a document's id, the first 8"),
        ([""], "'' is neither"),
        ([], "name at least one"),
    ],
)
def test_what_is_unknown_is_named_and_nothing_changes(dataset: Path, items: list[str], what: str) -> None:
    before = contents(dataset)
    with pytest.raises(ConfigError, match=what):
        forget(dataset, items)
    assert contents(dataset) == before


def test_a_beginning_of_several_ids_is_refused(tmp_path: Path) -> None:
    first, second = (dataclasses.replace(book(n, 40), facts={"document_id": "0123456789" + n * 54}) for n in "ab")
    dataset = make_dataset(tmp_path, [first, second, book("c", 50)])
    with pytest.raises(ConfigError, match="beginning of 2 documents"):
        forget(dataset, ["0123456789"])
    forget(dataset, ["0123456789a"])
    assert read_card(dataset).forgotten == ("0123456789" + "a" * 54,)


def test_forgetting_again_says_that_it_is_not_there(dataset: Path, capfd: pytest.CaptureFixture[str]) -> None:
    forget(dataset, [DOCUMENTS[0].id])
    before = contents(dataset)
    capfd.readouterr()
    assert longreel.main(["forget", str(dataset), DOCUMENTS[0].id, DOCUMENTS[0].id[:9]]) == 0
    told = capfd.readouterr().err
    assert told.count("is not there: it was forgotten before") == 2
    assert contents(dataset) == before


def test_a_dry_run_says_what_would_change_and_changes_nothing(dataset: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before, items = contents(dataset), [document.id for document in GONE]
    assert longreel.main(["forget", str(dataset), *items, "--dry-run"]) == 0
    would = [line for line in capfd.readouterr().err.splitlines() if "--dry-run" not in line]
    assert contents(dataset) == before
    assert longreel.main(["forget", str(dataset), *items]) == 0
    did = capfd.readouterr().err.splitlines()
    assert did[:-1] == would
    assert "packing would bring it back" in did[-1]
    assert any("repacked" in line for line in did)


class Killed(BaseException):
    """Not an Exception, as nothing may catch it."""


@contextmanager
def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Let the process die before the `step`-th change of a folder; the list tells which were made."""
    done: list[str] = []

    def deadly(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **options: Any) -> Any:
            if len(done) >= step:
                raise Killed(name)
            done.append(f"{name} {path}")
            return real(path, *args, **options)

        return call

    with monkeypatch.context() as patch:
        for name in ("unlink", "replace", "rmdir", "mkdir"):
            patch.setattr(os, name, deadly(name, getattr(os, name)))
        yield done


def test_after_a_kill_at_any_step_the_same_command_finishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [FEW[1].id, FULL.id, FEW[-1].id]
    before = make_dataset(tmp_path / "root", FEW, shard_bytes=6_000)
    whole = Path(shutil.copytree(before, tmp_path / "whole"))
    with killed_at(10_000, monkeypatch) as done:
        forget(whole, items)
    expected, untouched = contents(whole), contents(before)
    card_taken = next(i for i, step in enumerate(done) if step == f"unlink {whole}/dataset.json")
    assert len(expected) < len(untouched)
    assert len(done) - card_taken > 8
    unfinished = 0
    for step in range(len(done)):
        dataset = Path(shutil.copytree(before, tmp_path / f"{step}"))
        with killed_at(step, monkeypatch), pytest.raises(Killed):
            forget(dataset, items)
        if (dataset / "dataset.json").exists():
            visible = {name: data for name, data in contents(dataset).items() if not name.startswith(".")}
            assert visible in (untouched, expected)
            assert verify(dataset).problems == ()
        else:
            unfinished += 1
            with pytest.raises(DatasetError, match="the same `longreel forget` again"):
                read_card(dataset)
            with pytest.raises(DatasetError, match="forget"):
                forget(dataset, items, dry_run=True)
            # Killed once more while it goes on, which is no different.
            with killed_at(2, monkeypatch), pytest.raises(Killed):
                forget(dataset, items)
        forget(dataset, items)
        assert contents(dataset) == expected
        assert not (dataset / ".forget").exists()
        shutil.rmtree(dataset)
    assert unfinished > 5


def test_a_switch_that_was_interrupted_is_ended_first_and_knows_its_items(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    uri = "files/book 2"
    with killed_at(10_000, monkeypatch) as done:
        forget(Path(shutil.copytree(dataset, dataset.parent / "copy")), [uri])
    taken = next(i for i, step in enumerate(done) if step.endswith("/dataset.json") and step.startswith("unlink"))
    with killed_at(taken + 2, monkeypatch), pytest.raises(Killed):
        forget(dataset, [uri])
    forget(dataset, ["files/book 3", uri])
    assert read_card(dataset).forgotten == tuple(sorted([book("book 2", 2).id, book("book 3", 2).id]))
    assert verify(dataset).problems == ()
    assert "ended what was interrupted" in capfd.readouterr().err


def test_what_was_prepared_for_a_dataset_that_was_packed_again_is_thrown_away(
    root: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with killed_at(10_000, monkeypatch) as done:
        forget(Path(shutil.copytree(dataset, dataset.parent / "copy")), [DOCUMENTS[2].id])
    with killed_at(len(done) - 6, monkeypatch), pytest.raises(Killed):
        forget(dataset, [DOCUMENTS[2].id])
    assert not (dataset / "dataset.json").exists()
    (dataset / PARTS).mkdir()
    with pytest.raises(DatasetError, match="run `longreel pack` to its end first"):
        forget(dataset, [DOCUMENTS[2].id])
    (dataset / PARTS).rmdir()
    shutil.copytree(root / "packed" / "64", dataset, dirs_exist_ok=True)  # as packing again does
    forget(dataset, [DOCUMENTS[3].id])
    assert_forgotten(root / "packed" / "64", dataset, [DOCUMENTS[3]], TokenStore(root / "tokens"))


def test_a_folder_that_was_never_a_dataset_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such dataset"):
        forget(tmp_path / "nowhere", ["x" * 8])
    (tmp_path / ".forget").mkdir()
    assert finish(tmp_path) == []
    with pytest.raises(DatasetError, match=r"Run `longreel pack` again"):
        forget(tmp_path, ["x" * 8])


@pytest.mark.parametrize("kind", ["documents.parquet", "index.json", "*.tar"])
def test_a_dataset_that_was_altered_is_refused_and_left_as_it_is(dataset: Path, kind: str) -> None:
    name = min(dataset.glob(kind)).name
    data = bytearray((dataset / name).read_bytes())
    data[len(data) // 3] ^= 1
    (dataset / name).write_bytes(data)
    before = contents(dataset)
    with pytest.raises(DatasetError, match="verify"):
        forget(dataset, [document.id for document in DOCUMENTS[:20]])
    assert contents(dataset) == before
    assert not (dataset / ".forget").exists()


def test_a_ledger_that_lies_about_the_place_of_a_document_is_refused(dataset: Path) -> None:
    path = dataset / "documents.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    ids = [row["document_id"] for row in rows]
    swapped = {DOCUMENTS[2].id: DOCUMENTS[3].id, DOCUMENTS[3].id: DOCUMENTS[2].id}
    for row, name in zip(rows, ids, strict=True):
        row["document_id"] = swapped.get(name, name)
    pq.write_table(table.from_pylist(rows, table.schema), path)
    reseal(dataset)
    before = contents(dataset)
    with pytest.raises(DatasetError, match="other documents than the ledger says"):
        forget(dataset, [DOCUMENTS[2].id])
    assert contents(dataset) == before


def test_a_shard_outside_the_folder_is_neither_read_nor_removed(dataset: Path, tmp_path: Path) -> None:
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


def test_a_second_command_at_once_is_refused(tmp_path: Path) -> None:
    Workspace.open(tmp_path / "out")
    dataset = make_dataset(tmp_path / "out", DOCUMENTS)
    with Workspace.existing(tmp_path / "out").locked(), pytest.raises(ConfigError, match="another longreel command"):
        forget(dataset, [DOCUMENTS[2].id])
    forget(dataset, [DOCUMENTS[2].id])
    assert verify(dataset).problems == ()


def test_verify_names_a_forgotten_document_that_is_there(dataset: Path) -> None:
    card = dataclasses.replace(read_card(dataset), forgotten=(DOCUMENTS[0].id,))
    (dataset / "dataset.json").write_text(card.to_json())
    assert any("which the card lists as forgotten" in p.what for p in verify(dataset).problems)


def test_verify_allows_gaps_only_where_documents_were_forgotten(root: Path, dataset: Path) -> None:
    forget(dataset, [FULL.id])
    assert verify(dataset).problems == ()
    assert verify(dataset, store=TokenStore(root / "tokens")).problems == ()
    (dataset / "dataset.json").write_text(dataclasses.replace(read_card(dataset), forgotten=()).to_json())
    problems = verify(dataset).problems
    assert any("expected the normalized tar header" in p.what for p in problems)


def test_verify_names_keys_and_shards_out_of_order_among_gaps(dataset: Path) -> None:
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
    assert any("its shards are not those of a dataset" in p.what for p in verify(dataset).problems)


@pytest.mark.parametrize("ids", [("b", "a"), ("a", "a"), (5,), ("",)])
def test_verify_names_a_list_of_forgotten_documents_that_is_none(dataset: Path, ids: tuple[Any, ...]) -> None:
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
    # The next clip's forgetting is interrupted; then all of the item is asked for, by the beginning of its id.
    card = read_card(dataset)
    prepare(dataset, card, plan(dataset, card, find_documents(dataset / "documents.parquet", [f"{item}#00002"])))
    (dataset / "dataset.json").unlink()
    forget(dataset, [item[:10]])
    assert documents() == {name for name in before if item_of(name) != item}
    assert not verify(dataset, store=store).problems
    assert read_card(dataset).forgotten == tuple(f"{item}#0000{n}" for n in range(3))
    with pytest.raises(ConfigError, match="made to forget 1 documents"):  # also where it is no longer cut
        run_on_clips(shots_folder, workspace.root, models, ClipConfig())
