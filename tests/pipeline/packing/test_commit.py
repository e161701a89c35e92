from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.dataset.verify.verify import verify
from pipeline.packing.commit import begin, commit, is_current
from pipeline.packing.config import PackConfig
from pipeline.packing.plan import DatasetPlan
from pipeline.packing.shards import is_written, write_shard
from pipeline.runtime.token_store import TokenStore
from schemas.dataset import read_card
from schemas.dataset_files import PARTS
from schemas.errors import DatasetError, StorageError
from schemas.storage.location import located
from tests.support.packing.local_packing import CONTEXT, SMALL, finish, make_jobs, unit_tables
from tests.support.packing.packing_cases import (
    DOCUMENTS,
    files,
    pack,
    prepare,
    samples,
)
from tests.support.stored_files import file_of
from tests.support.token_stores import VOCABULARY


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack(tmp_path_factory.mktemp("dataset"))


def test_the_card_has_the_counts_of_each_split(packed: Path) -> None:
    card = read_card(packed)
    for split in ("train", "val"):
        mine = [d for d in DOCUMENTS if d.split == split]
        tokens = np.concatenate([d.tokens for d in mine])
        facts = card.splits[split]
        assert facts.documents == len(mine)
        assert facts.tokens == len(tokens)
        assert facts.vision_tokens == VOCABULARY.is_vision(tokens).sum()
        assert facts.text_tokens == len(tokens) - facts.vision_tokens
        assert facts.sequences == len(samples(packed, split))
        assert facts.fill == len(tokens) / (facts.sequences * CONTEXT)
        assert facts.fill <= facts.best_fill <= 1


def test_a_committed_dataset_is_current_for_its_plan_only(packed: Path, tmp_path: Path) -> None:
    made, _ = prepare(tmp_path / "tokens")
    assert is_current(located(packed), made.fingerprint)
    assert not is_current(located(packed), prepare(tmp_path / "other", replace(SMALL, seed=1))[0].fingerprint)
    assert not is_current(located(tmp_path / "nowhere"), made.fingerprint)


@pytest.mark.parametrize("spoil", ["dataset", "index-", "documents-", "croissant-", "train-000000-of-", "cut"])
def test_a_dataset_with_a_missing_or_truncated_file_is_not_current(tmp_path: Path, spoil: str) -> None:
    directory = pack(tmp_path)
    fingerprint = read_card(directory).fingerprint
    assert is_current(located(directory), fingerprint)
    path = next(p for p in sorted(directory.iterdir()) if p.name.startswith("val-" if spoil == "cut" else spoil))
    if spoil == "cut":
        os.truncate(path, 512)
    else:
        path.unlink()
    assert not is_current(located(directory), fingerprint)


def test_an_interrupted_run_resumes_with_its_complete_shards(packed: Path, tmp_path: Path) -> None:
    made, jobs = prepare(tmp_path / "tokens")
    store, directory = TokenStore(located(tmp_path / "tokens")), tmp_path / "packed"
    begin(located(directory), made.fingerprint)
    for job in jobs[:4]:
        write_shard(job, store, located(directory))
    with pytest.raises(DatasetError, match="missing"):
        finish(directory, made)
    with pytest.raises(DatasetError, match="unfinished"):
        read_card(directory)
    paths = [file_of(directory, job.name) for job in jobs[:4]]
    paths[1].write_bytes(b"cut short")
    paths[3].write_bytes(paths[3].read_bytes()[:-1] + b"\1")
    before = [path.stat().st_mtime_ns for path in paths]
    begin(located(directory), made.fingerprint)
    assert [is_written(job, located(directory)) for job in jobs[:5]] == [True, False, True, False, False]
    for job in jobs:
        write_shard(job, store, located(directory))
    finish(directory, made)
    after = [path.stat().st_mtime_ns for path in paths]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True, False]
    assert files(directory) == files(packed)


@pytest.mark.slow
def test_a_new_plan_replaces_the_dataset_at_once_and_deletes_the_files_of_the_old_one(
    packed: Path, tmp_path: Path
) -> None:
    directory = pack(tmp_path, PackConfig(shard_bytes=5_000))
    before = read_card(directory)
    begin(located(directory), before.fingerprint)
    (directory / ".train-000000-of-000009.tar.0123abcd.tmp").touch()  # left by a killed writer
    (directory / "notes.txt").touch()
    made, jobs = prepare(tmp_path / "tokens")
    begin(located(directory), made.fingerprint)
    for job in jobs:
        write_shard(job, TokenStore(located(tmp_path / "tokens")), located(directory))
    assert read_card(directory) == before
    assert verify(directory).found == 1  # notes.txt
    finish(directory, made)
    (directory / "notes.txt").unlink()
    assert files(directory) == files(packed)


def test_part_files_of_another_plan_are_deleted(tmp_path: Path) -> None:
    made, jobs = prepare(tmp_path / "tokens")
    other, other_jobs = make_jobs(unit_tables(tmp_path / "tokens"), replace(SMALL, seed=5))
    directory, store = tmp_path / "packed", TokenStore(located(tmp_path / "tokens"))
    begin(located(directory), other.fingerprint)
    for job in other_jobs:
        write_shard(job, store, located(directory))
    assert not any(is_written(job, located(directory)) for job in jobs)
    begin(located(directory), made.fingerprint)
    assert not list((directory / PARTS).iterdir())


def test_files_of_others_are_kept(packed: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "packed" / "train-000000-of-000001.tar"
    foreign.parent.mkdir()
    foreign.write_bytes(b"precious")
    assert pack(tmp_path) == foreign.parent
    assert foreign.read_bytes() == b"precious"


def _commit(directory: Path, made: DatasetPlan, version: str | None) -> None:
    commit(
        located(directory),
        made,
        frame_grid=(2, 2),
        frame_size=32,
        frame_rate=1.0,
        text_tokenizer=(),
        version=version,
    )


def test_a_dataset_that_another_command_has_replaced_is_not_overwritten(tmp_path: Path) -> None:
    made, jobs = prepare(tmp_path / "tokens")
    directory = tmp_path / "packed"
    for job in jobs:
        write_shard(job, TokenStore(located(tmp_path / "tokens")), located(directory))
    version = begin(located(directory), made.fingerprint)
    (directory / "dataset.json").write_text("{}")
    with pytest.raises(StorageError, match=r"dataset\.json was changed by another command; run the same command again"):
        _commit(directory, made, version)
    assert (directory / "dataset.json").read_text() == "{}"


def test_a_dataset_with_a_truncated_shard_is_not_committed(tmp_path: Path) -> None:
    made, jobs = prepare(tmp_path / "tokens")
    directory = tmp_path / "packed"
    version = begin(located(directory), made.fingerprint)
    for job in jobs:
        write_shard(job, TokenStore(located(tmp_path / "tokens")), located(directory))
    path = file_of(directory, jobs[0].name)
    os.truncate(path, 100)
    with pytest.raises(StorageError, match=f"{path.name} has 100 bytes, but .* were written"):
        _commit(directory, made, version)
    assert not (directory / "dataset.json").exists()
