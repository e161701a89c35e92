"""Datasets for tests of the removal of items, and checks of the result."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.dataset.names import key_of
from pipeline.dataset.verify.verify import verify
from pipeline.runtime.token_store import TokenStore
from schemas.dataset import read_card
from schemas.dataset_files import CARD
from schemas.packed import expand
from schemas.storage.location import Location, located
from tests.support.packing.packing_cases import samples
from tests.support.stored_files import file_of, index_of
from tests.support.token_stores import StoredDocument, book, image, video

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


def contents(place: Location | Path) -> dict[str, bytes]:
    """Return the content of every file in a directory, by relative path."""
    directory = located(place).local()
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def blocks(directory: Path) -> dict[str, bytes]:
    """Return the bytes of every sequence, by key."""
    found = {}
    for shard in index_of(directory):
        data = (directory / shard.url).read_bytes()
        for start, end in pairwise(shard.offsets):
            found[key_of(data[start:end])] = data[start:end]
    return found


def keys_with(directory: Path, documents: Sequence[StoredDocument]) -> set[str]:
    """Return the keys of the sequences that contain a part of the documents."""
    ids = {document.id for document in documents}
    rows = pq.read_table(file_of(directory, "documents.parquet"), columns=["sequence", "document_id"]).to_pylist()
    return {row["sequence"] for row in rows if row["document_id"] in ids}


def assert_all_tokens(directory: Path, documents: Sequence[StoredDocument]) -> None:
    """Check that the dataset contains every token of the documents once, and no other tokens."""
    found = {d.id: np.full(len(d.tokens), -1) for d in documents}
    for split in ("train", "val"):
        for sample in samples(directory, split):
            at = 0
            for chunk in sample["json"]["documents"]:
                place = found[chunk["id"]][chunk["start"] : chunk["start"] + chunk["length"]]
                assert (place == -1).all()
                place[:] = sample["tokens.npy"][at : at + chunk["length"]]
                at += chunk["length"]
            assert not sample["tokens.npy"][at:].any()
            assert np.count_nonzero(expand(sample["spans.npy"], 64).segment_ids) == at
    for document in documents:
        assert np.array_equal(found[document.id], document.tokens)


def assert_removed(before: Path, after: Path, gone: Sequence[StoredDocument], store: TokenStore) -> None:
    """Check that `after` is the dataset `before` without the documents `gone`, and that all else is unchanged."""
    report = verify(after, store=store)
    assert report.problems == ()
    old, new, touched = blocks(before), blocks(after), keys_with(before, gone)
    assert not keys_with(after, gone)
    assert {k: v for k, v in old.items() if k not in touched} == {k: v for k, v in new.items() if k not in touched}
    assert set(new) <= set(old)
    for shard in index_of(before):
        data = (before / shard.url).read_bytes()
        changed = any(key_of(data[at:]) in touched for at in shard.offsets[:-1])
        assert (after / shard.url).exists() != changed
        assert changed or (after / shard.url).read_bytes() == data
    card = read_card(after)
    assert set(card.taken_down) == {*read_card(before).taken_down, *(document.id for document in gone)}
    assert card.fingerprint != read_card(before).fingerprint
    assert {path.name for path in after.iterdir()} == {file.name for file in card.stored} | {CARD}


class Killed(BaseException):
    """Simulates the death of the process: not an Exception, so that no handler for errors catches it."""


@contextmanager
def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Raise Killed before the `step`-th change of a directory; yield the list of the changes made."""
    done: list[str] = []

    def limited(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **options: Any) -> Any:
            if len(done) >= step:
                raise Killed(name)
            done.append(f"{name} {path}")
            return real(path, *args, **options)

        return call

    with monkeypatch.context() as patch:
        for name in ("unlink", "replace", "rmdir", "mkdir", "rename", "link"):
            patch.setattr(os, name, limited(name, getattr(os, name)))
        yield done
