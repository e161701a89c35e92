"""Packing without Beam, for tests: calls the same functions in the same order in one process."""

from __future__ import annotations

import pickle
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.dataset.commit import card_version
from pipeline.packing.assign import RankCounter, ShardInput, assign
from pipeline.packing.chunks import documents_of
from pipeline.packing.commit import begin, commit
from pipeline.packing.config import PackConfig
from pipeline.packing.length_histograms import LengthHistograms, count_lengths, sum_histograms
from pipeline.packing.plan import DatasetPlan, make_plan
from pipeline.packing.sentence_ends import SentenceEnds
from pipeline.packing.shards import ShardJob, shard_job, write_shard
from pipeline.runtime.token_store import TokenStore
from pipeline.runtime.units import read_rows, unit_files
from schemas.dataset import DatasetCard
from schemas.records import TOKENS
from schemas.storage.location import located
from schemas.vocab import Vocabulary
from tests.support.token_stores import VOCABULARY, StoredDocument, write_store

CONTEXT = 64
SMALL = PackConfig(shard_bytes=20_000)


def make_jobs(
    tables: Sequence[pa.Table],
    config: PackConfig = SMALL,
    *,
    context: int = CONTEXT,
    vocabulary: Vocabulary = VOCABULARY,
    store: TokenStore | None = None,
    sentences: SentenceEnds | None = None,
    seed: int = 0,
) -> tuple[DatasetPlan, list[ShardJob]]:
    """Plan the packing of units, given as index tables; return the plan, and the shard jobs sorted by name.

    The inputs of each shard are shuffled with `seed`.
    """
    units = [documents_of(table) for table in tables]

    def count(factor: float) -> list[LengthHistograms]:
        options: dict[str, Any] = {"context_length": context, "text_factor": factor, "seed": config.seed}
        return [count_lengths(unit, config.mixture, **options) for unit in units]

    total, factor = sum_histograms(count(1.0)), 1.0
    if config.mixture.text_share is not None:
        factor = config.mixture.text_factor(total.text_tokens, total.other_tokens)
    counted = count(factor)
    plan = make_plan(sum_histograms(counted), config, context_length=context, vocabulary=vocabulary, text_factor=factor)
    ranks, sent = RankCounter(), dict[str, list[ShardInput]]()
    for number, (unit, histograms) in enumerate(zip(units, counted, strict=True)):
        start = ranks.start(number, histograms.splits)
        for name, shard_input in assign(unit, plan, start, store, sentences):  # type: ignore[arg-type]
            sent.setdefault(name, []).append(shard_input)
    for shard_inputs in sent.values():
        random.Random(seed).shuffle(shard_inputs)
    names = [name for split in plan.splits for name in plan.shard_names(split)]
    assert sorted(names) == sorted(sent)
    return plan, [shard_job(pickle.loads(pickle.dumps(plan)), name, sent[name]) for name in names]  # noqa: S301


def unit_tables(directory: Path) -> list[pa.Table]:
    """Return the index of each unit of a token store."""
    return [read_rows(located(path), TOKENS) for path in unit_files(located(directory))]


def finish(directory: Path, plan: DatasetPlan, *, grid: tuple[int, int] = (2, 2)) -> DatasetCard:
    """Commit written shards as a dataset."""
    version = card_version(located(directory))
    return commit(
        located(directory), plan, frame_grid=grid, frame_size=32, frame_rate=1.0, text_tokenizer=(), version=version
    )


def pack_documents(
    root: Path,
    documents: Sequence[StoredDocument],
    config: PackConfig = SMALL,
    *,
    name: str = "packed",
    context: int = CONTEXT,
    vocabulary: Vocabulary = VOCABULARY,
    grid: tuple[int, int] = (2, 2),
    seed: int = 0,
    units: int = 3,
    tokens: str = "tokens",
) -> Path:
    """Write a token store (root/`tokens`) and a dataset (root/`name`) of `documents`; return the dataset's folder."""
    store, directory = write_store(root / tokens, documents, units=units), root / name
    tables = unit_tables(root / tokens)
    plan, jobs = make_jobs(tables, config, context=context, vocabulary=vocabulary, store=store, seed=seed)
    begin(located(directory), plan.fingerprint)
    random.Random(seed).shuffle(jobs)
    for job in jobs:
        write_shard(job, store, located(directory))
    finish(directory, plan, grid=grid)
    return directory
