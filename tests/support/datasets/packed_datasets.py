"""Packed datasets next to their token stores, as in a workspace."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

from pipeline.dataset.croissant import croissant_json
from pipeline.packing.config import PackConfig
from schemas.dataset import DatasetCard
from schemas.dataset_files import CARD, CROISSANT
from schemas.errors import DatasetError
from schemas.fingerprint import sha256_file
from schemas.shards.index import ShardEntry, checksum_of_sequence
from schemas.storage.location import located
from schemas.vocab import Vocabulary
from tests.support.packing.local_packing import pack_documents
from tests.support.stored_files import file_of, index_of, stored_file, write_index
from tests.support.token_stores import VOCABULARY, StoredDocument


def make_dataset(
    root: Path,
    documents: Sequence[StoredDocument],
    *,
    context: int = 64,
    shard_bytes: int = 12_000,
    vocabulary: Vocabulary = VOCABULARY,
    grid: tuple[int, int] = (2, 2),
) -> Path:
    """Write a token store (`root`/tokens) and a dataset of it (`root`/packed/`context`), and return the dataset."""
    config = PackConfig(shard_bytes=shard_bytes, loss_weighting="document")
    return pack_documents(
        root, documents, config, name=f"packed/{context}", context=context, vocabulary=vocabulary, grid=grid
    )


def reseal(directory: Path) -> None:
    """Update every hash in an altered dataset, as a faulty writer or an attacker would."""
    index = [_rehashed(directory, shard) for shard in index_of(directory)]
    write_index(directory, index)
    card = read_card_unchecked(directory)
    files = {name: stored_file(directory, name) for name in card.files}
    card = dataclasses.replace(card, files=files, shards=tuple(entry.file for entry in index))
    with contextlib.suppress(DatasetError):  # a test can remove columns of the ledger
        file_of(directory, CROISSANT).write_text(croissant_json(located(directory), card))
    card = dataclasses.replace(card, files=files | {CROISSANT: stored_file(directory, CROISSANT)})
    (directory / CARD).write_text(card.to_json())


def read_card_unchecked(directory: Path) -> DatasetCard:
    """Return the card of a dataset, which may have been altered."""
    return DatasetCard.from_json((directory / CARD).read_text())


def _rehashed(directory: Path, shard: ShardEntry) -> ShardEntry:
    data = (directory / shard.url).read_bytes()
    checksums = "".join(checksum_of_sequence(data[start:end]) for start, end in itertools.pairwise(shard.offsets))
    return dataclasses.replace(shard, sha256=sha256_file(directory / shard.url), checksums=checksums)
