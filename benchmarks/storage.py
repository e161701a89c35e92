"""Measures reads from a bucket through Longreel and through obstore alone, and the cost of local files.

    python benchmarks/storage.py [--smoke] [--size 268435456] [--out storage.json]

nginx serves a file of random bytes as an object of a bucket; where it is not installed, a server in Python does, and
the output says so. Each method reads random ranges from one or several threads, in turns, and the best of `repeats`
runs counts:

    obstore     `obstore.get_range`, the client alone
    Location    `Location.read_range`, with retries and errors that name the address
    stream      `Location.open`, then seek and read, as Parquet and Arrow do

    trainer     `PackedSplit.read` of a dataset that is served in the same way, one sequence after the other in random
                order and from four threads; for comparison, `obstore` reads the same ranges

    pack        `TokenStore.read` of all documents of a token store; obstore reads the file in ranges of 4 MiB

Local files: microseconds for one atomic write, one whole read and one ranged read through `Location`, and for the same
system calls made by hand (temporary name, fsync, rename; open and read), in turns.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import obstore
import tyro
from obstore.store import S3Store
from reading import pack
from support.static_server import static_server

from pipeline.runtime.token_store import BATCH_BYTES, TokenStore
from pipeline.runtime.workspace import Workspace
from schemas.dataset import read_card
from schemas.shards.index import read_checked_index
from schemas.storage.location import Location, located
from trainer.data.shards import PackedSplit

READS = ((64 << 10, 1), (1 << 20, 4), (8 << 20, 4), (64 << 20, 4))  # bytes of a range, threads
BUCKET, KEY = "benchmark", "object"
LOCAL_CALLS = {"atomic write": 20, "read": 400, "read of a range": 400}  # a write waits for the disk


@dataclass(frozen=True)
class Options:
    """Measure storage."""

    size: int = 256 << 20  # of the object, in bytes
    seconds: float = 2.0  # about so long each run reads
    context: int = 65536  # tokens of a packed sequence
    tokens: int = 1 << 24  # of the dataset
    sequences: int = 400  # that are read from it
    repeats: int = 3
    smoke: bool = False  # a small object and short runs, in a few seconds
    out: Path | None = None  # write the figures to this JSON file


@dataclass(frozen=True)
class Rate:
    """What one method achieves."""

    reads_per_s: float
    megabytes_per_s: float
    cpu_s_per_gigabyte: float


@contextmanager
def bucket(folder: Path, size: int) -> Iterator[str]:
    """Serve an object of random bytes; yield the name of the server."""
    root = folder / "root"
    (root / BUCKET).mkdir(parents=True)
    (root / BUCKET / KEY).write_bytes(np.random.default_rng(0).bytes(size))
    folder.chmod(0o755)
    with static_server(root, folder) as server:
        os.environ.update(
            AWS_ENDPOINT_URL=server.endpoint, AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", AWS_REGION="us-east-1"
        )
        yield server.name


def obstore_alone() -> S3Store:
    """Return obstore's client of the bucket."""
    return S3Store(BUCKET, config={"endpoint": os.environ["AWS_ENDPOINT_URL"]}, client_options={"allow_http": True})


def readers() -> dict[str, Callable[[], Callable[[int, int], object]]]:
    """Return the methods: functions that make a reader for one thread."""
    store = obstore_alone()
    location = Location.parse(f"s3://{BUCKET}/{KEY}")

    def streamed() -> Callable[[int, int], object]:
        stream = location.open()

        def read(start: int, length: int) -> object:
            stream.seek(start)
            return stream.read(length)

        return read

    return {
        "obstore": lambda: lambda start, length: bytes(obstore.get_range(store, KEY, start=start, length=length)),
        "Location": lambda: location.read_range,
        "stream": streamed,
    }


def run(make: Callable[[], Callable[[int, int], object]], *, size: int, length: int, threads: int, reads: int) -> Rate:
    """Read `reads` random ranges."""
    starts = np.random.default_rng(1).integers(0, size - length + 1, reads).tolist()

    def share(number: int) -> None:
        read = make()
        for start in starts[number::threads]:
            read(start, length)

    started, cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(share, range(threads)))
    passed, used = time.perf_counter() - started, time.process_time() - cpu
    total = reads * length
    return Rate(reads / passed, total / passed / 1e6, used / total * 1e9)


def measure_remote(options: Options) -> list[dict[str, Any]]:
    """Return the best rate of each method for each size of a range."""
    methods, rows = readers(), []
    for length, threads in READS:
        if length > options.size // 2:
            continue
        for make in methods.values():
            make()(0, 1)  # connects
        pilot = run(methods["obstore"], size=options.size, length=length, threads=threads, reads=2 * threads)
        reads = max(2 * threads, int(pilot.reads_per_s * options.seconds))
        best: dict[str, Rate] = {}
        for _, (name, make) in itertools.product(range(options.repeats), methods.items()):
            rate = run(make, size=options.size, length=length, threads=threads, reads=reads)
            best[name] = max(rate, best.get(name, rate), key=lambda each: each.reads_per_s)
        rows.append({"bytes": length, "threads": threads} | {n: dataclasses.asdict(r) for n, r in best.items()})
    return rows


def measure_trainer(folder: Path, options: Options) -> list[dict[str, Any]]:
    """Return the rates at which the trainer reads packed sequences, and obstore their bytes."""
    pack(folder / "root" / BUCKET, context=options.context, tokens=options.tokens)
    dataset = Location.parse(f"s3://{BUCKET}") / "workspace" / "packed" / "packed"
    split = PackedSplit([dataset], "train")
    entries = [e for e in read_checked_index(dataset, read_card(dataset)) if e.split == "train"]
    ranges = [(dataset / e.url, *pair) for e in entries for pair in itertools.pairwise(e.offsets)]
    order = np.random.default_rng(3).integers(0, len(ranges), options.sequences).tolist()
    store = obstore_alone()

    def alone(index: int) -> None:
        shard, start, end = ranges[index]
        obstore.get_range(store, shard.key, start=start, end=end)

    rows = []
    alone(order[0])  # connects
    split.read(order[0])
    for threads in (1, 4):
        ways = {"obstore": alone, "trainer": split.read}
        best = dict.fromkeys(ways, float("inf"))
        for _, (name, way) in itertools.product(range(options.repeats), ways.items()):
            started = time.perf_counter()
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(way, order))
            best[name] = min(best[name], time.perf_counter() - started)
        total = sum(ranges[index][2] - ranges[index][1] for index in order)
        row = {name: [len(order) / best[name], total / best[name] / 1e6] for name in ways}
        rows.append({"threads": threads, "bytes": total // len(order)} | row)
    return rows


def measure_pack(folder: Path, repeats: int) -> dict[str, float]:
    """Return the MB/s at which packing reads a token store from beginning to end, and obstore its file."""
    root = located(folder / "root" / BUCKET)
    tokens = Workspace.existing(root / "workspace").tokens
    rows = TokenStore(tokens).table().sort_by([("batch", "ascending"), ("row", "ascending")]).to_pylist()
    ((arrow, size),) = [found for found in (root / "workspace" / "tokens").sizes() if found[0].suffix == ".arrow"]
    remote, store = Location.parse(f"s3://{BUCKET}") / tokens.relative_to(root), obstore_alone()
    key = arrow.relative_to(root)

    def documents() -> None:
        opened = TokenStore(remote)
        for row in rows:
            opened.read(row["unit"], row["batch"], row["row"])

    def alone() -> None:
        for start in range(0, size, BATCH_BYTES):
            obstore.get_range(store, key, start=start, end=min(start + BATCH_BYTES, size))

    best = {"obstore": float("inf"), "pack": float("inf")}
    for _, (name, way) in itertools.product(range(repeats), (("obstore", alone), ("pack", documents))):
        started = time.perf_counter()
        way()
        best[name] = min(best[name], time.perf_counter() - started)
    return {name: size / seconds / 1e6 for name, seconds in best.items()}


def write_by_hand(path: Path) -> None:
    """Write a file as `Location.write` does."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        temporary.write_bytes(b"x" * 1000)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_through_location(path: Path) -> None:
    """Write a file as jobs do."""
    with located(path).writing() as temporary:
        temporary.write_bytes(b"x" * 1000)


def range_by_hand(path: Path) -> bytes:
    """Read a range of a file."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.pread(file, 100, 500)
    finally:
        os.close(file)


def measure_local(folder: Path, repeats: int) -> dict[str, dict[str, float]]:
    """Return the microseconds of each call, by hand and through Location."""
    path = folder / "local"
    location = located(path)
    location.write(b"x" * 1000)
    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "atomic write": (lambda: write_by_hand(path), lambda: write_through_location(path)),
        "read": (path.read_bytes, location.read),
        "read of a range": (lambda: range_by_hand(path), lambda: location.read_range(500, 100)),
    }
    found = {name: {"by hand": float("inf"), "Location": float("inf")} for name in pairs}
    for _, (name, calls) in itertools.product(range(repeats), pairs.items()):
        for how, call in zip(("by hand", "Location"), calls, strict=True):
            started = time.perf_counter()
            for _ in range(LOCAL_CALLS[name]):
                call()
            found[name][how] = min(found[name][how], (time.perf_counter() - started) / LOCAL_CALLS[name] * 1e6)
    return found


def main(options: Options) -> None:
    if options.smoke:
        options = dataclasses.replace(
            options, size=4 << 20, seconds=0.1, repeats=1, context=4096, tokens=1 << 16, sequences=10
        )
    results: dict[str, Any] = {"cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as folder:
        with bucket(Path(folder), options.size) as server:
            results |= {"server": server, "remote": measure_remote(options)}
            results["trainer"] = measure_trainer(Path(folder), options)
            results["pack"] = measure_pack(Path(folder), options.repeats)
        results["local"] = measure_local(Path(folder), 5 * options.repeats)
    print(f"server: {server}")
    print(f"{'range':>10}{'threads':>9}{'method':>12}{'reads/s':>11}{'MB/s':>9}{'CPU s/GB':>10}")
    for row in results["remote"]:
        for method in readers():
            rate = row[method]
            print(
                f"{row['bytes'] >> 10:>6,} KiB{row['threads']:>9}{method:>12}{rate['reads_per_s']:>11,.0f}"
                f"{rate['megabytes_per_s']:>9,.0f}{rate['cpu_s_per_gigabyte']:>10.2f}"
            )
    print(f"\n{'sequence':>10}{'threads':>9}{'method':>12}{'reads/s':>11}{'MB/s':>9}")
    for row in results["trainer"]:
        for method in ("obstore", "trainer"):
            print(
                "{:>6,} KiB{:>9}{:>12}{:>11,.0f}{:>9,.0f}".format(
                    row["bytes"] >> 10, row["threads"], method, *row[method]
                )
            )
    print(
        "\ndocuments of a token store: {pack:,.0f} MB/s, its file by obstore {obstore:,.0f} MB/s".format(
            **results["pack"]
        )
    )
    print(f"\n{'local, microseconds':>22}{'by hand':>10}{'Location':>10}")
    for name, times in results["local"].items():
        print(f"{name:>22}{times['by hand']:>10.1f}{times['Location']:>10.1f}")
    if options.out:
        options.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
