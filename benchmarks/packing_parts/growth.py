"""How planning grows with the number of documents: the steps of the job, unit by unit, each in its own process."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from packing_parts.apart import Row, apart, timed
from packing_parts.corpora import VOCABULARY, mixed
from pipeline.packing.assign import RankCounter, assign
from pipeline.packing.chunks import documents_of
from pipeline.packing.config import PackConfig
from pipeline.packing.length_histograms import count_lengths, read_histograms, sum_histograms, write_histograms
from pipeline.packing.mixture import Mixture
from pipeline.packing.plan import DatasetPlan, make_plan
from schemas.storage.location import located

UNIT = 10_000  # documents
ANYWHERE = PackConfig(sentence_reach=0.0)


def growth(most: int, context: int, scratch: Path | None) -> list[Row]:
    idle = apart(nothing).rss
    rows, count = [], UNIT
    print(f"\ngrowth, context {context:,}; an idle process has {idle / 1e6:.0f} MB\n"
          f"{'documents':>12}{'worker':>11}{'per document':>14}{'peak':>10}{'driver':>9}{'peak':>10}{'inputs':>13}"
          f"{'plan':>10}{'ranks':>12}{'fill':>10}{'of bound':>10}")  # fmt: skip
    while count <= most:
        row = grow(count, context, scratch)
        rows.append(row)
        print(f"{row['documents']:>12,}{row['worker_cpu_s']:>9.1f} s{row['worker_us_per_document']:>11.1f} us"
              f"{row['worker_peak'] / 1e6:>7.0f} MB{row['driver_cpu_s']:>7.1f} s{row['driver_peak'] / 1e6:>7.0f} MB"
              f"{row['shard_input_bytes_per_document']:>9.0f} B/d{row['plan_bytes'] / 1e6:>7.2f} MB"
              f"{row['start_bytes'] / 1e6:>9.2f} MB{row['fill']:>10.4%}{row['of_bound']:>10.4%}",
              flush=True)  # fmt: skip
        count *= 10
    return rows


def nothing() -> None:
    pass


def grow(count: int, context: int, scratch: Path | None) -> Row:
    units = count // UNIT
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        counted = apart(count_units, Path(folder), units, context)
        driver = apart(drive, Path(folder), units, context)
        sent = apart(send_units, Path(folder), units)
    row: Row = {"units": units} | counted.result | driver.result | sent.result
    row["worker_cpu_s"] = row["histograms_cpu_s"] + row["assign_cpu_s"]
    row["worker_s"] = row["histograms_s"] + row["assign_s"]
    row["worker_us_per_document"] = row["worker_cpu_s"] / row["documents"] * 1e6
    row["shard_input_bytes_per_document"] = row["shard_input_bytes"] / row["documents"]
    row["worker_peak"], row["driver_peak"] = max(counted.rss, sent.rss), driver.rss
    return row


def unit_table(unit: int) -> pa.Table:
    return mixed(np.random.default_rng(unit), UNIT)


def count_units(folder: Path, units: int, context: int) -> Row:
    row: Row = {"documents": 0}
    for unit in range(units):
        table = unit_table(unit)
        with timed(row, "histograms"):
            options: dict[str, Any] = {"context_length": context, "text_factor": 1.0, "seed": 0}
            write_histograms(
                located(folder / f"{unit}.parquet"), count_lengths(documents_of(table), Mixture(), **options)
            )
        row["documents"] += len(table)
    return row


def drive(folder: Path, units: int, context: int) -> Row:
    row: Row = {}
    with timed(row, "driver"):
        histograms = sum_histograms(read_histograms(located(folder / f"{unit}.parquet")) for unit in range(units))
        plan = make_plan(histograms, ANYWHERE, context_length=context, vocabulary=VOCABULARY)
        handed = RankCounter()
        starts = [
            handed.start(unit, read_histograms(located(folder / f"{unit}.parquet")).splits) for unit in range(units)
        ]
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
        "lengths": len(split.packing.items.lengths) + len(split.packing.texts.lengths),
        "fill": plan.fill("train"),
        "of_bound": split.min_sequences / split.sequences,
    }


def send_units(folder: Path, units: int) -> Row:
    row: Row = {"shard_inputs": 0, "shard_input_bytes": 0}
    plan: DatasetPlan = pickle.loads((folder / "plan").read_bytes())  # noqa: S301
    for unit in range(units):
        table = unit_table(unit)
        start = pickle.loads((folder / f"{unit}.start").read_bytes())  # noqa: S301
        with timed(row, "assign"):
            for _, shard_input in assign(documents_of(table), plan, start, NoTokens(), None):
                row["shard_inputs"] += 1
                row["shard_input_bytes"] += sum(map(len, shard_input))
    return row


class NoTokens:
    """A token store for plans that need no tokens."""

    def read(self, unit: int, batch: int, row: int, start: int = 0, length: int | None = None) -> Any:
        """Raise: assignment reads no token unless cuts move to sentence ends."""
        raise RuntimeError("a token was read, but cuts do not move to sentence ends")
