"""How fast shards are written, and in how much memory."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import webdataset as wds

from packing_parts.apart import Row, apart
from packing_parts.corpora import VOCABULARY, mixed
from packing_parts.growth import ANYWHERE
from pipeline.packing.assign import RankCounter, ShardInput, assign
from pipeline.packing.chunks import documents_of
from pipeline.packing.config import PackConfig
from pipeline.packing.length_histograms import count_lengths, sum_histograms
from pipeline.packing.plan import DatasetPlan, make_plan
from pipeline.packing.shards import part_path, shard_job, write_shard
from pipeline.runtime.token_store import TokenStore, write_unit
from pipeline.runtime.units import read_rows, unit_files
from schemas.fingerprint import sha256_file
from schemas.records import TOKENS
from schemas.rows import document_rows
from schemas.storage.location import located

SPEED, MEMORY = (4096, 131072), (4096, 1048576)
SMALL_STORE = 10_000_000  # bytes; a smaller store is measured at the first context only
UNIT = 2500  # documents


def assembly(store_bytes: int, repeat: int, scratch: Path | None) -> Row:
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        root = Path(folder)
        written = apart(make_store, root / "tokens", store_bytes).result
        print(
            f"\nassembly from a store of {written / 1e6:.0f} MB; MB per second of processor time (by the clock)\n"
            f"{'context':>10}{'shard':>10}{'write_shard':>16}{'cp':>16}{'sha256':>16}{'TarWriter':>16}{'limit':>8}"
        )
        speed = []
        for context in SPEED[: 1 if store_bytes < SMALL_STORE else None]:
            row = {"context": context} | apart(race, root, context, repeat).result
            speed.append(row)
            size, processor = row["bytes"] / 1e6, row["processor"]
            rates = [f"{size / processor[m]:>8,.0f} ({size / wall:>5,.0f})" for m, wall in row["seconds"].items()]
            limit = size / (processor["cp"] + processor["sha256"])
            print(f"{context:>10,}{size:>7.0f} MB{''.join(rates)}{limit:>8,.0f}", flush=True)
        idle = apart(nothing)
        print(f"memory of the process that writes a shard; an idle process has {idle.rss / 1e6:.0f} MB, of which "
              f"{idle.anonymous / 1e6:.0f} MB are anonymous\n"
              f"{'context':>10}{'shard':>10}{'documents':>11}{'anonymous':>10}"
              f"{'with the mapped store':>23}")  # fmt: skip
        memory = []
        for context in MEMORY[: 1 if store_bytes < SMALL_STORE else None]:
            for shard_bytes in (PackConfig().shard_bytes, store_bytes // 8):
                apart(prepare, root, context, shard_bytes)
                found = apart(write_prepared, root)
                row = {"context": context, "anonymous": found.anonymous, "rss": found.rss} | found.result
                memory.append(row)
                print(f"{context:>10,}{row['bytes'] / 1e6:>7.0f} MB{row['documents']:>11,}"
                      f"{found.anonymous / 1e6:>7.0f} MB{found.rss / 1e6:>20.0f} MB", flush=True)  # fmt: skip
    return {"speed": speed, "memory": memory, "idle": idle.rss, "idle_anonymous": idle.anonymous}


def make_store(directory: Path, size: int) -> int:
    """Write units of mixed documents with random tokens until there are `size` bytes; return the number of bytes."""
    directory.mkdir()
    written, unit = 0, 0
    while written < size:
        rng = np.random.default_rng(unit)
        rows = document_rows(mixed(rng, UNIT))
        some = ((row, rng.integers(0, VOCABULARY.size, row.length, VOCABULARY.dtype)) for row in rows)
        table = write_unit(located(directory), unit, some, VOCABULARY.dtype)
        written += int(np.sum(table["length"].to_numpy())) * VOCABULARY.dtype.itemsize
        unit += 1
    return written


def shard_inputs_of(store: Path, context: int, config: PackConfig) -> tuple[DatasetPlan, dict[str, list[ShardInput]]]:
    units = [documents_of(read_rows(path, TOKENS)) for path in unit_files(located(store))]
    counted = [
        count_lengths(unit, config.mixture, context_length=context, text_factor=1.0, seed=config.seed) for unit in units
    ]
    plan = make_plan(sum_histograms(counted), config, context_length=context, vocabulary=VOCABULARY)
    handed, sent = RankCounter(), dict[str, list[ShardInput]]()
    for number, (unit, histograms) in enumerate(zip(units, counted, strict=True)):
        for name, shard_input in assign(
            unit, plan, handed.start(number, histograms.splits), TokenStore(located(store)), None
        ):
            sent.setdefault(name, []).append(shard_input)
    return plan, sent


def race(root: Path, context: int, repeat: int) -> Row:
    """Write the first shard by each method in turn; return the least seconds of each."""
    plan, sent = shard_inputs_of(root / "tokens", context, ANYWHERE)
    name = min(sent)
    job, store, out = shard_job(plan, name, sent[name]), TokenStore(located(root / "tokens")), root / str(context)
    out.mkdir()
    write_shard(job, store, located(out))
    shard, copy, other = written_shard(out), out / "copy.tar", out / "other.tar"
    samples = samples_of(shard)

    def ours() -> None:
        part_path(located(out), name).delete()
        write_shard(job, store, located(out))

    methods: dict[str, Callable[[], Any]] = {
        "write_shard": ours,
        "cp": lambda: copy_file(shard, copy),
        "sha256": lambda: sha256_file(shard),
        "TarWriter": lambda: write_tar(other, samples),
    }
    best = dict.fromkeys(methods, float("inf"))
    processor = dict.fromkeys(methods, float("inf"))
    for _ in range(repeat):
        for method, run in methods.items():
            started, used = time.perf_counter(), processor_time()
            run()
            best[method] = min(best[method], time.perf_counter() - started)
            processor[method] = min(processor[method], processor_time() - used)
    return {"bytes": shard.stat().st_size, "seconds": best, "processor": processor, "sequences": len(samples)}


def processor_time() -> float:
    """Return the seconds of processor time of this process and its children."""
    return sum(os.times()[:4])


def written_shard(folder: Path) -> Path:
    """Return the only shard in a folder; its name depends on its content."""
    (shard,) = folder.glob("train-*.tar")
    return shard


def nothing() -> None:
    pass


def samples_of(shard: Path) -> list[dict[str, Any]]:
    """Return a shard's samples in memory, as the arrays and objects that webdataset writes."""
    samples: dict[str, dict[str, Any]] = {}
    with tarfile.open(shard) as tar:
        for member in tar:
            key, extension = member.name.split(".", 1)
            data = tar.extractfile(member).read()  # type: ignore[union-attr]
            value = json.loads(data) if extension == "json" else np.load(io.BytesIO(data))
            samples.setdefault(key, {"__key__": key})[extension] = value
    return list(samples.values())


def write_tar(path: Path, samples: list[dict[str, Any]]) -> None:
    with path.open("wb") as f, wds.TarWriter(f) as tar:
        for sample in samples:
            tar.write(sample)
        f.flush()
        os.fsync(f.fileno())


def copy_file(source: Path, target: Path) -> None:
    subprocess.run(["cp", str(source), str(target)], check=True)
    with target.open("rb") as f:
        os.fsync(f.fileno())


def prepare(root: Path, context: int, shard_bytes: int) -> None:
    """Save the input of the first shard's writer to a file."""
    plan, sent = shard_inputs_of(root / "tokens", context, replace(ANYWHERE, shard_bytes=shard_bytes))
    (root / "handed").write_bytes(pickle.dumps((plan, min(sent), sent[min(sent)])))


def write_prepared(root: Path) -> Row:
    plan, name, shard_inputs = pickle.loads((root / "handed").read_bytes())  # noqa: S301
    with tempfile.TemporaryDirectory(dir=root) as out:
        job = shard_job(plan, name, shard_inputs)
        write_shard(job, TokenStore(located(root / "tokens")), located(Path(out)))
        size = written_shard(Path(out)).stat().st_size
    return {"bytes": size, "documents": len(job.documents), "sequences": len(job.keys)}
