"""What Beam costs: the whole job on its local runner, compared with the same steps run one after the other."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from packing_parts.apart import Row, apart, timed
from packing_parts.corpora import VOCABULARY, texts
from pipeline.packing.assign import RankCounter, ShardInput
from pipeline.packing.commit import begin, commit
from pipeline.packing.config import PackConfig
from pipeline.packing.job import AssignWorker, HistogramWorker, Packing, ShardWorker, Stage, pack
from pipeline.packing.length_histograms import read_histograms, sum_histograms
from pipeline.packing.plan import make_plan
from pipeline.runtime.beam import Runner
from pipeline.runtime.stored_value import stored
from pipeline.runtime.token_store import FACTS, StoreFacts, write_unit
from pipeline.runtime.units import unit_files, unit_name, unit_number
from pipeline.runtime.workspace import Workspace
from schemas.rows import document_rows
from schemas.storage.location import located

UNITS = 32
CONTEXT = 4096
CONFIG = PackConfig(sentence_reach=0.0, shard_bytes=4 << 20)
FACTS_OF_STORE = StoreFacts(
    units=tuple(range(UNITS)), vocabulary=VOCABULARY, frame_grid=(16, 16), frame_size=256, frame_rate=4.0
)


def beam(documents: int, scratch: Path | None) -> Row:
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        root = Path(folder) / "workspace"
        apart(make_workspace, root, documents)
        idle = apart(nothing).rss  # unpickling the function imports this module, and Beam with it
        row: Row = {"documents": documents, "idle": idle}
        print(f"\nthe whole job, {documents:,} documents of 4 to 12 tokens in {UNITS} units; "
              f"an idle process with Beam imported has {idle / 1e6:.0f} MB")  # fmt: skip
        for name, method in (("with Beam", with_beam), ("without Beam", without_beam)):
            found = apart(method, root)
            row[name] = {"peak": found.rss} | found.result
            print(f"{name:>14}: {found.result['job_s']:.1f} s, {found.result['job_cpu_s']:.1f} s of CPU time, "
                  f"{found.result['shards']} shards, peak {found.rss / 1e6:.0f} MB", flush=True)  # fmt: skip
    return row


def nothing() -> None:
    pass


def make_workspace(root: Path, documents: int) -> None:
    workspace = Workspace.open(root, units=UNITS)
    workspace.tokens.local().mkdir(parents=True)
    for unit in range(UNITS):
        rng = np.random.default_rng(unit)
        rows = document_rows(texts(rng, "qa", rng.integers(4, 13, documents // UNITS)))
        some = [(row, rng.integers(0, VOCABULARY.text_size, row.length, VOCABULARY.dtype)) for row in rows]
        write_unit(workspace.tokens, unit, some, VOCABULARY.dtype)
    (workspace.tokens.local() / FACTS).write_text(FACTS_OF_STORE.to_json())


def with_beam(root: Path) -> Row:
    workspace, row = Workspace.existing(root), Row()
    with timed(row, "job"):
        pack(workspace, Stage(name="beam", context_length=CONTEXT, config=CONFIG), Runner(1))
    return row | {"shards": len(workspace.packed("beam").list("*.tar"))}


def without_beam(root: Path) -> Row:
    workspace, row = Workspace.existing(root), Row()
    stage = Stage(name="plain", context_length=CONTEXT, config=CONFIG)
    directory, histograms = workspace.packed("plain"), workspace.length_histograms("plain")
    with timed(row, "job"):
        units = [unit_number(located(path)) for path in unit_files(workspace.tokens)]
        with HistogramWorker(workspace, stage).open() as count:
            for unit in units:
                count(unit)
        counted = [read_histograms(histograms / f"{unit_name(unit)}.parquet") for unit in units]
        plan = make_plan(sum_histograms(counted), CONFIG, context_length=CONTEXT, vocabulary=VOCABULARY)
        version = begin(directory, plan.fingerprint)
        handed, sent = RankCounter(), dict[str, list[ShardInput]]()
        starts = {unit: handed.start(unit, of_unit.splits) for unit, of_unit in zip(units, counted, strict=True)}
        with stored(histograms, Packing(plan, starts)) as packing:
            with AssignWorker(workspace, histograms, packing).open() as send:
                for unit in units:
                    for name, shard_input in send(unit):
                        sent.setdefault(name, []).append(shard_input)
            with ShardWorker(workspace, directory, packing).open() as write:
                for shard in sent.items():
                    write(shard)
        facts = FACTS_OF_STORE
        commit(
            directory,
            plan,
            frame_grid=facts.frame_grid,
            frame_size=facts.frame_size,
            frame_rate=facts.frame_rate,
            text_tokenizer=(),
            version=version,
        )
        histograms.delete_folder()
    return row | {"shards": len(sent)}
