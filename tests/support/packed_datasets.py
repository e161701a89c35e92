"""Packed datasets next to their token stores, as in a workspace."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

from pipeline.dataset.croissant import write_croissant
from pipeline.packing.config import PackConfig
from schemas.dataset import (
    CARD,
    INDEX,
    LEDGER,
    DatasetCard,
    ShardEntry,
    checksum_of_sequence,
    read_index,
    write_index,
)
from schemas.errors import DatasetError
from schemas.fingerprint import sha256_file
from schemas.vocab import Vocabulary
from tests.support.packing.local_packing import pack_documents
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
    index = [_rehashed(directory, shard) for shard in read_index(directory)]
    write_index(directory, index)
    card = dataclasses.replace(
        DatasetCard.from_json((directory / CARD).read_text()),
        index_sha256=sha256_file(directory / INDEX),
        ledger_sha256=sha256_file(directory / LEDGER),
    )
    with contextlib.suppress(DatasetError):  # a test can remove columns of the ledger
        write_croissant(directory, card, index)
    (directory / CARD).write_text(card.to_json())


def _rehashed(directory: Path, shard: ShardEntry) -> ShardEntry:
    data = (directory / shard.url).read_bytes()
    checksums = "".join(checksum_of_sequence(data[start:end]) for start, end in itertools.pairwise(shard.offsets))
    return dataclasses.replace(shard, sha256=sha256_file(directory / shard.url), checksums=checksums)
