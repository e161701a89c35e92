"""Packed datasets for tests that look at one after it was made: beside its token store, as in a workspace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.packing.config import PackConfig
from schemas.vocab import Vocabulary
from tests.support.local_packing import pack_documents
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
