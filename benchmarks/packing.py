"""Claims: sequences are full, planning grows with the documents and no faster, assembly runs at the speed of the disk.

    python benchmarks/packing.py [--quick] [--workspace DIR] [--growth 10000000] [--out packing.json]

Every figure is measured in a process of its own, so that its peak of memory is its own. The parts:

    fill      Four made-up corpora (`packing_corpora.py`) and real books and clips, each at five contexts. `bound` is a
              fill that no packing can exceed. `reach` is packing with cuts moved to the ends of sentences, as by
              default, the rest without. Beside it Grain's FirstFitPackIterDataset on the same documents in random
              order (so many of them as `grain_tokens` allows), those longer than the context cut first, as it must be;
              and concatenation cut into contexts. `cut` counts documents that are in more than one piece, `longer`
              those that have to be.
    growth    Census, plan and ranks, assignment of mixed documents in units of 10^4, made when they are needed and
              thrown away. Seconds are the processor's; `worker` is what all workers together take, making the
              documents not counted.
    assembly  Shards from a token store of made-up documents beside `cp` of the same bytes and webdataset's TarWriter
              writing the same samples; each ends with a sync of its file.
    beam      The whole job, on Beam's local runner and without Beam.

`--workspace` is where the sample material is fetched and tokenized the first time (some minutes); without it the real
corpus is left out.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import tyro
from packing_corpora import CORPORA, FRAME, VOCABULARY, Integers, mixed, texts

from pipeline.assign import Parcel, Ranks, assign
from pipeline.census import add_up, read_census, take_census, write_census
from pipeline.mixture import Mixture
from pipeline.packing import PackConfig
from pipeline.parts import documents_of, parts_of, ranks
from pipeline.plan import Plan, make_plan
from pipeline.sentences import Sentences
from pipeline.shards import shard_job, write_shard
from pipeline.store import FACTS, StoreFacts, Tokens, TokenStore, write_unit
from schemas.records import TOKENS

CONTEXTS = (4096, 8192, 32768, 131072, 1048576)
UNIT = 10_000  # documents, in `growth`
ANYWHERE = PackConfig(sentence_reach=0.0)
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure packing."""

    parts: tuple[str, ...] = ("fill", "growth", "assembly", "beam")
    quick: bool = False  # a minute in all, with everything small
    workspace: Path | None = None  # where the sample material lies, or is to be put
    documents: int = 50_000  # of each made-up corpus, in `fill`
    grain_tokens: int = 100_000_000
    growth: int = 1_000_000  # the most documents planned, from 10^4 in steps of ten
    growth_context: int = 32768
    store_bytes: int = 300_000_000  # of tokens, in `assembly`
    repeat: int = 3
    beam_documents: int = 200_000
    scratch: Path | None = None  # where shards are written; default: the system's folder for such
    out: Path | None = None  # where the figures go as JSON

    def __post_init__(self) -> None:
        if self.quick:
            small = {"documents": 5000, "grain_tokens": 5_000_000, "growth": 100_000, "store_bytes": 50_000_000}
            for name, most in (small | {"repeat": 1, "beam_documents": 10_000}).items():
                object.__setattr__(self, name, min(most, getattr(self, name)))


class Apart(NamedTuple):
    """What a function returned in a process of its own, and the most memory that process had."""

    result: Any
    rss: int  # bytes, with files that are mapped
    anonymous: int  # bytes, without


def apart(work: Callable[..., Any], *args: Any) -> Apart:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_watched, work, *args).result()


def _watched(work: Callable[..., Any], *args: Any) -> Apart:
    done, most = threading.Event(), [_status("RssAnon")]

    def watch() -> None:
        while not done.wait(0.005):
            most[0] = max(most[0], _status("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = work(*args)
    finally:
        done.set()
        watcher.join()
    return Apart(result, _status("VmHWM"), most[0])


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@contextlib.contextmanager
def timed(row: Row, name: str) -> Iterator[None]:
    """Add the wall clock and the processor seconds of the body to `row`."""
    wall, used = time.perf_counter(), time.process_time()
    yield
    for key, seconds in ((f"{name}_s", time.perf_counter() - wall), (f"{name}_cpu_s", time.process_time() - used)):
        row[key] = row.get(key, 0.0) + seconds


# ---- growth


def growth(options: Options) -> list[Row]:
    idle = apart(int).rss
    rows, count = [], UNIT
    print(f"\ngrowth, context {options.growth_context:,}; a process that does nothing has {idle / 1e6:.0f} MB\n"
          f"{'documents':>12}{'worker':>11}{'a document':>12}{'peak':>10}{'driver':>9}{'peak':>10}{'parcels':>13}"
          f"{'plan':>10}{'ranks':>12}{'fill':>10}{'of bound':>10}")  # fmt: skip
    while count <= options.growth:
        row = grow(count, options)
        rows.append(row)
        print(f"{row['documents']:>12,}{row['worker_cpu_s']:>9.1f} s{row['worker_us_a_document']:>9.1f} us"
              f"{row['worker_peak'] / 1e6:>7.0f} MB{row['driver_cpu_s']:>7.1f} s{row['driver_peak'] / 1e6:>7.0f} MB"
              f"{row['parcel_bytes_a_document']:>9.0f} B/d{row['plan_bytes'] / 1e6:>7.2f} MB"
              f"{row['start_bytes'] / 1e6:>9.2f} MB{row['fill']:>10.4%}{row['of_bound']:>10.4%}", flush=True)  # fmt: skip
        count *= 10
    return rows


def grow(count: int, options: Options) -> Row:
    units = count // UNIT
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        counted = apart(count_units, Path(folder), units, options.growth_context)
        driver = apart(drive, Path(folder), units, options.growth_context)
        sent = apart(send_units, Path(folder), units)
    row: Row = {"units": units, "idle_peak": 0} | counted.result | driver.result | sent.result
    row["worker_cpu_s"] = row["census_cpu_s"] + row["assign_cpu_s"]
    row["worker_s"] = row["census_s"] + row["assign_s"]
    row["worker_us_a_document"] = row["worker_cpu_s"] / row["documents"] * 1e6
    row["parcel_bytes_a_document"] = row["parcel_bytes"] / row["documents"]
    row["worker_peak"], row["driver_peak"] = max(counted.rss, sent.rss), driver.rss
    return row


def unit_table(unit: int) -> pa.Table:
    return mixed(np.random.default_rng(unit), UNIT)


def count_units(folder: Path, units: int, context: int) -> Row:
    row: Row = {"documents": 0}
    for unit in range(units):
        table = unit_table(unit)
        with timed(row, "census"):
            options: dict[str, Any] = {"context_length": context, "text_factor": 1.0, "seed": 0}
            write_census(folder / f"{unit}.parquet", take_census(documents_of(table), Mixture(), **options))
        row["documents"] += len(table)
    return row


def drive(folder: Path, units: int, context: int) -> Row:
    row: Row = {}
    with timed(row, "driver"):
        census = add_up(read_census(folder / f"{unit}.parquet") for unit in range(units))
        plan = make_plan(census, ANYWHERE, context_length=context, vocabulary=VOCABULARY)
        handed = Ranks()
        starts = [handed.start(unit, read_census(folder / f"{unit}.parquet").splits) for unit in range(units)]
    (folder / "plan").write_bytes(pickle.dumps(plan))
    row["plan_bytes"] = (folder / "plan").stat().st_size
    row["start_bytes"] = 0
    for start in starts:
        (folder / f"{start.unit}.start").write_bytes(pickle.dumps(start))
        row["start_bytes"] += (folder / f"{start.unit}.start").stat().st_size
    split = plan.splits["train"]
    return row | {
        "tokens": split.tokens,
        "sequences": split.sequences,
        "shards": split.shards,
        "lengths": len(split.recipe.items.lengths) + len(split.recipe.texts.lengths),
        "fill": plan.fill("train"),
        "of_bound": split.fewest / split.sequences,
    }


def send_units(folder: Path, units: int) -> Row:
    row: Row = {"parcels": 0, "parcel_bytes": 0}
    plan: Plan = pickle.loads((folder / "plan").read_bytes())  # noqa: S301
    for unit in range(units):
        table = unit_table(unit)
        start = pickle.loads((folder / f"{unit}.start").read_bytes())  # noqa: S301
        with timed(row, "assign"):
            for _, parcel in assign(documents_of(table), plan, start, NoTokens(), None):
                row["parcels"] += 1
                row["parcel_bytes"] += sum(map(len, parcel))
    return row


class NoTokens:
    """A store for plans that read none."""

    def read(self, unit: int, batch: int, row: int, start: int = 0, length: int | None = None) -> Any:
        raise RuntimeError("no token is needed to assign documents without reach")


PARTS: dict[str, Callable[[Options], list[Row]]] = {"growth": growth}


def main(options: Options) -> None:
    figures = {part: PARTS[part](options) for part in options.parts}
    if options.out:
        options.out.write_text(json.dumps({"cores": os.cpu_count(), **figures}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options))
