"""Packed datasets for tests, made by the jobs' own functions; the one place that knows how they are called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.commit import begin, commit
from pipeline.croissant import write_croissant
from pipeline.packing import PackConfig, plan
from pipeline.shards import shard_jobs, write_shard
from schemas.dataset import read_index
from schemas.vocab import Vocabulary
from tests.pipeline.stores import VOCABULARY, StoredDocument, write_store


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
    store = write_store(root / "tokens", documents)
    config = PackConfig(shard_bytes=shard_bytes, loss_weighting="document")
    made = plan(store.table(), config, context_length=context, vocabulary=vocabulary)
    directory = root / "packed" / str(context)
    begin(directory, made.fingerprint)
    for job in shard_jobs(made):
        write_shard(job, store, directory)
    card = commit(directory, made, frame_grid=grid, frame_size=32, frame_rate=1.0)
    write_croissant(directory, card, read_index(directory))
    return directory
