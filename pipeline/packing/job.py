"""The pack job: count the documents, plan, and write the shards. Only index rows pass through Beam, not tokens.

    count      One element per unit: write the length histograms of its documents to a file.
    plan       In the driver: make the dataset plan from the sum of the histograms.
    assign     One element per unit: check its token files, look up the sequence of each chunk, emit shard inputs.
    write      One element per shard: read the tokens from the store, one sequence at a time, and write the shard.

The driver holds the histograms and, for each unit, its first ranks. A worker holds the index of one unit, or the rows
of one shard and the tokens of one sequence.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dataset.commit import delete_leftovers
from pipeline.dedup.block_list import BlockList
from pipeline.packing.assign import RankCounter, ShardInput, UnitStart, assign
from pipeline.packing.chunks import Documents, documents_of
from pipeline.packing.commit import begin, commit, is_current
from pipeline.packing.config import PackConfig, require_context
from pipeline.packing.digest import digest_documents
from pipeline.packing.length_histograms import (
    LengthHistograms,
    count_lengths,
    read_histograms,
    sum_histograms,
    write_histograms,
)
from pipeline.packing.plan import DatasetPlan, make_plan
from pipeline.packing.sentence_ends import SentenceEnds
from pipeline.packing.shards import shard_job, write_shard
from pipeline.runtime.beam import Runner, run_each, run_packing
from pipeline.runtime.job_report import JobReport
from pipeline.runtime.journal import MADE, note
from pipeline.runtime.kept_tokenizer import kept_hashes
from pipeline.runtime.progress import following
from pipeline.runtime.stored_value import StoredValue, stored
from pipeline.runtime.token_store import StoreFacts, TokenStore, items_of
from pipeline.runtime.units import read_rows, unit_name
from pipeline.runtime.workspace import Workspace
from schemas.dataset import TAKEN_DOWN, read_card
from schemas.dataset_files import StoredFile
from schemas.errors import ConfigError, DatasetError
from schemas.records import TOKENS
from schemas.storage.location import Location
from schemas.text_tokenizer import store_files
from tokenizer.text.tokenizer import TextTokenizer


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One dataset to pack: its name, the tokens per sequence, and the configuration."""

    name: str
    context_length: int
    config: PackConfig


def pack(workspace: Workspace, stage: Stage, runner: Runner) -> JobReport:
    """Pack the token store into one dataset; do nothing if the dataset of the same plan exists."""
    try:
        return _pack(workspace, stage, runner)
    except (ConfigError, DatasetError) as e:
        raise type(e)(f"{stage.name}: {e}") from e


def _pack(workspace: Workspace, stage: Stage, runner: Runner) -> JobReport:
    started = time.monotonic()
    require_context(stage.context_length)
    facts = StoreFacts.read(workspace.tokens)
    folder, directory = workspace.length_histograms(stage.name), workspace.packed(stage.name)
    try:
        plan = _plan(workspace, stage, facts, runner)
        shards = sum(split.shards for split in plan.splits.values())
        new = not is_current(directory, plan.fingerprint)
        if new:
            version = begin(directory, plan.fingerprint)
            ranks = RankCounter()
            starts = {unit: ranks.start(unit, read_histograms(_file(folder, unit)).splits) for unit in facts.units}
            log = workspace.start_log("pack")
            with following(f"pack {stage.name}", log, shards), stored(folder, Packing(plan, starts)) as packing:
                sender = AssignWorker(workspace, folder, packing)
                writer = ShardWorker(workspace, directory, packing)
                run_packing(facts.units, sender=sender, writer=writer, runner=runner, log=log)
            commit(
                directory,
                plan,
                frame_grid=facts.frame_grid,
                frame_size=facts.frame_size,
                frame_rate=facts.frame_rate,
                version=version,
                text_tokenizer=_copy_tokenizer(workspace, directory, plan),
            )
        else:
            delete_leftovers(directory, read_card(directory))
    finally:
        folder.parent.delete_folder()
    return _report(plan, stage, new=new, seconds=time.monotonic() - started)


def _plan(workspace: Workspace, stage: Stage, facts: StoreFacts, runner: Runner) -> DatasetPlan:
    worker = HistogramWorker(workspace, stage)
    histograms = _count(workspace, stage, facts.units, worker, runner)
    mixture = stage.config.mixture
    if mixture.text_share is not None:
        factor = mixture.text_factor(histograms.text_tokens, histograms.other_tokens)
        worker = replace(worker, text_factor=factor)
        histograms = _count(workspace, stage, facts.units, worker, runner)
    return make_plan(
        histograms,
        stage.config,
        context_length=stage.context_length,
        vocabulary=facts.vocabulary,
        text_factor=worker.text_factor,
    )


def _copy_tokenizer(workspace: Workspace, directory: Location, plan: DatasetPlan) -> tuple[StoredFile, ...]:
    """Copy the text tokenizer to the dataset; return its files, none if the workspace has another."""
    hashes = kept_hashes(workspace)
    if plan.vocabulary.text_sha256 not in hashes.values():
        return ()
    return store_files(workspace.text_tokenizer, directory, hashes)


def _count(
    workspace: Workspace, stage: Stage, units: Sequence[int], worker: HistogramWorker, runner: Runner
) -> LengthHistograms:
    folder = workspace.length_histograms(stage.name)
    folder.delete_folder()
    log = workspace.start_log("pack")
    with following(f"pack {stage.name}, counting", log, len(units)):
        run_each(units, worker, runner, log=log)
    return sum_histograms(read_histograms(_file(folder, unit)) for unit in units)


def _file(folder: Location, unit: int) -> Location:
    return folder / f"{unit_name(unit)}.parquet"


def _documents(workspace: Workspace, unit: int) -> tuple[Documents, int]:
    """Return the documents of a unit, and the number of others, which were taken down."""
    table = read_rows(workspace.tokens / f"{unit_name(unit)}.parquet", TOKENS)
    blocked = pa.array(BlockList.read(workspace).takedowns, pa.string())
    is_blocked = pc.is_in(items_of(table["document_id"]), blocked)
    count = pc.sum(pc.and_(is_blocked, pc.is_null(table["reason"]))).as_py() or 0
    return documents_of(table.filter(pc.invert(is_blocked))), count


def _report(plan: DatasetPlan, stage: Stage, *, new: bool, seconds: float) -> JobReport:
    excluded = sum(plan.excluded.values())
    copies = sum(split.documents for split in plan.splits.values()) - (plan.documents - excluded)
    facts = {f"sequences in {name}": split.sequences for name, split in plan.splits.items()}
    return JobReport(
        job=f"pack {stage.name}",
        items=plan.documents,
        kept=plan.documents - excluded,
        rejected=dict(plan.excluded),
        new=plan.documents if new else 0,
        seconds=seconds,
        facts=facts | ({"repetitions of documents": copies} if copies else {}),
        notes=tuple(
            f"fill of {name}: {plan.fill(name):.3%} (upper bound {plan.best_fill(name):.3%})" for name in plan.splits
        ),
    ).checked()


@dataclass(frozen=True)
class HistogramWorker:
    """Writes the length histograms of units."""

    workspace: Workspace
    stage: Stage
    text_factor: float = 1.0

    @contextmanager
    def open(self) -> Iterator[Callable[[int], None]]:
        """Return the function that counts one unit; see pipeline.runtime.beam.Worker."""
        yield self._count

    def _count(self, unit: int) -> None:
        documents, taken_down = _documents(self.workspace, unit)
        histograms = count_lengths(
            documents,
            self.stage.config.mixture,
            context_length=self.stage.context_length,
            text_factor=self.text_factor,
            seed=self.stage.config.seed,
        )
        if taken_down:
            excluded = histograms.excluded | {TAKEN_DOWN: taken_down}
            histograms = replace(histograms, rows=histograms.rows + taken_down, excluded=excluded)
        write_histograms(_file(self.workspace.length_histograms(self.stage.name), unit), histograms)
        note(MADE, unit=unit, documents=histograms.rows)


class Packing(NamedTuple):
    """What all workers need to know about a dataset: its plan, and the start of each unit."""

    plan: DatasetPlan
    starts: Mapping[int, UnitStart]


@dataclass(frozen=True)
class AssignWorker:
    """Checks the token files of units and assigns their documents to shards."""

    workspace: Workspace
    histograms: Location
    packing: StoredValue[Packing]

    @contextmanager
    def open(self) -> Iterator[Callable[[int], Iterator[tuple[str, ShardInput]]]]:
        """Open the token store; see pipeline.runtime.beam.Worker."""
        store, (plan, starts) = TokenStore(self.workspace.tokens), self.packing.get()
        needs_sentences = any(split.packing.reach for split in plan.splits.values())
        sentences = _sentences(self.workspace, plan) if needs_sentences else None

        def send(unit: int) -> Iterator[tuple[str, ShardInput]]:
            store.check(unit)
            documents, _ = _documents(self.workspace, unit)
            if digest_documents(documents.table) != read_histograms(_file(self.histograms, unit)).digest:
                raise DatasetError(
                    f"{self.workspace.tokens / unit_name(unit)}.parquet changed while it was packed; "
                    "run `longreel pack` again"
                )
            return assign(documents, plan, starts[unit], store, sentences)

        yield send


def _sentences(workspace: Workspace, plan: DatasetPlan) -> SentenceEnds:
    path = workspace.text_tokenizer
    text = TextTokenizer.load(path) if kept_hashes(workspace) else None
    if text is None or text.sha256 != plan.vocabulary.text_sha256:
        problem = "is missing" if text is None else "is not the tokenizer that the text was tokenized with"
        raise ConfigError(
            f"{path} {problem}, so the ends of sentences cannot be found; "
            "complete `longreel tokenize`, or pack with --sentence-reach 0"
        )
    return SentenceEnds(text)


@dataclass(frozen=True)
class ShardWorker:
    """Writes shards."""

    workspace: Workspace
    directory: Location
    packing: StoredValue[Packing]

    @contextmanager
    def open(self) -> Iterator[Callable[[tuple[str, Iterable[ShardInput]]], None]]:
        """Open the token store; see pipeline.runtime.beam.Worker."""
        store, plan = TokenStore(self.workspace.tokens), self.packing.get().plan

        def write(shard: tuple[str, Iterable[ShardInput]]) -> None:
            name, shard_inputs = shard
            write_shard(shard_job(plan, name, shard_inputs), store, self.directory)
            note(MADE, shard=name)

        yield write
