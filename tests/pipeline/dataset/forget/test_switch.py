from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.dataset.forget.documents import DocumentRef
from pipeline.dataset.forget.forget import forget
from pipeline.dataset.forget.switch import finish, switch, write_documents
from pipeline.dataset.verify.verify import verify
from pipeline.runtime.token_store import TokenStore
from schemas.dataset import PARTS, read_card
from schemas.errors import DatasetError
from tests.support.forget_datasets import (
    DOCUMENTS,
    FEW,
    FULL,
    LONG,
    Killed,
    assert_forgotten,
    contents,
    killed_at,
)
from tests.support.packed_datasets import make_dataset
from tests.support.token_stores import book

pytestmark = pytest.mark.slow


def test_the_same_command_completes_after_an_interruption_at_any_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
            # A second interruption, while the first is being repaired, makes no difference.
            with killed_at(2, monkeypatch), pytest.raises(Killed):
                forget(dataset, items)
        forget(dataset, items)
        assert contents(dataset) == expected
        assert not (dataset / ".forget").exists()
        shutil.rmtree(dataset)
    assert unfinished > 5


def test_an_interrupted_switch_is_completed_before_other_documents_are_removed(
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
    assert "completed the interrupted removal" in capfd.readouterr().err


def test_files_prepared_before_the_dataset_was_packed_again_are_deleted(
    root: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with killed_at(10_000, monkeypatch) as done:
        forget(Path(shutil.copytree(dataset, dataset.parent / "copy")), [DOCUMENTS[2].id])
    with killed_at(len(done) - 6, monkeypatch), pytest.raises(Killed):
        forget(dataset, [DOCUMENTS[2].id])
    assert not (dataset / "dataset.json").exists()
    (dataset / PARTS).mkdir()
    with pytest.raises(DatasetError, match="let `longreel pack` finish first"):
        forget(dataset, [DOCUMENTS[2].id])
    (dataset / PARTS).rmdir()
    shutil.copytree(root / "packed" / "64", dataset, dirs_exist_ok=True)  # like packing again
    forget(dataset, [DOCUMENTS[3].id])
    assert_forgotten(root / "packed" / "64", dataset, [DOCUMENTS[3]], TokenStore(root / "tokens"))


def test_a_directory_that_is_not_a_dataset_is_unchanged(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such dataset"):
        forget(tmp_path / "nowhere", ["x" * 8])
    (tmp_path / ".forget").mkdir()
    assert finish(tmp_path) == []
    with pytest.raises(DatasetError, match=r"Run `longreel pack` again"):
        forget(tmp_path, ["x" * 8])


def test_switch_without_a_prepared_index_moves_the_files_that_remain(dataset: Path) -> None:
    """The state after an interruption between the last two renames."""
    expected = contents(dataset)
    folder = dataset / ".forget"
    folder.mkdir()
    write_documents(folder, [DocumentRef(LONG.id, "files/long", None)])
    (dataset / "dataset.json").rename(folder / "dataset.json")
    switch(dataset)
    assert contents(dataset) == expected
