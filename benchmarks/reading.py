"""Measures how fast packed sequences are read and expanded, compared with webdataset's loader on the same shards.

    python benchmarks/reading.py [--smoke] [--contexts 4096 32768 1048576] [--tokens 16777216] [--out reading.json]

One dataset per context length is packed from generated captioned videos (frames of 256 codes and <eof>) and books; it
stays in the page cache. Rates are tokens per second of CPU time (user and system) of one thread. Each is the best of
`repeats` runs; the methods take turns:

    read         `PackedSplit.read` of every sequence in random order, checks included
    and expand   the same followed by `expand`: all that the model needs
    checksum     the time of the checksums alone, as a share of that of `read` and of that of `and expand`
    webdataset   `wds.WebDataset(shards).decode()` in shard order; returns tokens and spans without checks
    expand       `expand` alone, for several numbers of spans per sequence
    by slices    the plain alternative: four slice assignments per span

Finally, an index of a million sequences of 4K in 250 shards (sparse files with real sequences at a few hundred random
positions): wall-clock time to open it, and to read each of these sequences.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
import webdataset as wds
from numpy.typing import NDArray

from benchmarks.support.vocabulary import vocabulary
from pipeline.packing.config import PackConfig
from pipeline.packing.job import Stage
from pipeline.packing.job import pack as run_pack
from pipeline.runtime.beam import Runner
from pipeline.runtime.token_store import FACTS, StoreFacts, write_unit
from pipeline.runtime.workspace import Workspace
from schemas.dataset import read_card
from schemas.dataset_files import CARD, INDEX, StoredFile, shard_name
from schemas.files import write_text
from schemas.fingerprint import fingerprint
from schemas.packed import SPAN_DTYPE, expand
from schemas.records import TOKENS
from schemas.rows import DocumentRow
from schemas.shards.index import checksum_at, checksum_of_sequence, index_json, read_checked_index
from schemas.storage.location import located
from schemas.vocab import TEXT, VISION
from trainer.data.shards import PackedSplit

FRAME = 257
PER_SHARD = 4000  # sequences, in the large index
SPANS = (4, 64, 1024, 16384)
VOCABULARY = vocabulary(text_size=32000, codebook_size=8192)


@dataclass(frozen=True)
class Options:
    """Measure reading."""

    contexts: tuple[int, ...] = (4096, 32768, 1048576)
    tokens: int = 1 << 24  # of each dataset
    repeats: int = 7
    seeks: int = 300  # sequences to read from the million
    shards: int = 250  # of 4,000 sequences each, in the large index
    smoke: bool = False  # one small dataset and one run, in a few seconds
    out: Path | None = None  # write the figures to this JSON file


def document(number: int, rng: np.random.Generator) -> tuple[dict[str, Any], NDArray[Any]]:
    """Return a row of records.TOKENS and tokens: of a captioned video of 1 to 30 frames or, one time in ten, a book."""
    if is_book := number % 10 == 0:
        runs = [(TEXT, int(rng.integers(2000, 20000)))]
    else:
        runs = [(TEXT, int(rng.integers(5, 60))), (VISION, int(rng.integers(1, 31)) * FRAME), (TEXT, 2)]
    ends = np.cumsum([length for _, length in runs]).tolist()
    spans = [
        {"start": end - length, "length": length, "modality": modality, "start_s": None, "end_s": None, "weight": 1.0}
        for (modality, length), end in zip(runs, ends, strict=True)
    ]
    row = dict.fromkeys(TOKENS.names) | {
        "document_id": fingerprint(number),
        "fingerprint": fingerprint("tokens of", number),
        "kind": "book" if is_book else "video",
        "split": "train",
        "uri": f"files/{number}",
        "frame_tokens": 0 if is_book else FRAME,
        "frames": 0 if is_book else runs[1][1] // FRAME,
        "frames_promised": 0 if is_book else runs[1][1] // FRAME,
        "length": ends[-1],
        "cues": 0,
        "cues_outside": 0,
        "spans": spans,
    }
    return row, rng.integers(5, VOCABULARY.text_size, ends[-1]).astype(VOCABULARY.dtype)


def pack(directory: Path, *, context: int, tokens: int) -> Path:
    """Pack a dataset of about `tokens` tokens under `directory`; return it."""
    rng, documents, total = np.random.default_rng(0), [], 0
    while total < tokens:
        documents.append(document(len(documents), rng))
        total += len(documents[-1][1])
    workspace = Workspace.open(directory / "workspace", units=1)
    rows = [(DocumentRow.from_row(row | {"unit": -1, "batch": -1, "row": -1}), ids) for row, ids in documents]
    write_unit(workspace.tokens, 0, rows, VOCABULARY.dtype)
    facts = StoreFacts(units=(0,), vocabulary=VOCABULARY, frame_grid=(16, 16), frame_size=256, frame_rate=4.0)
    write_text(workspace.tokens / FACTS, facts.to_json())
    # The tokens do not come from a text model, so books can be cut anywhere.
    stage = Stage(name="packed", context_length=context, config=PackConfig(shard_bytes=8 << 20, sentence_reach=0.0))
    with workspace.locked():
        run_pack(workspace, stage, Runner())
    return workspace.packed(stage.name).local()


def fastest(
    ways: dict[str, Callable[[], object]], repeats: int, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Return the least seconds of each method; the methods take turns."""
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(repeats):
        for name, way in ways.items():
            started = clock()
            way()
            best[name] = min(best[name], clock() - started)
    return best


def measure_read(directory: Path, repeats: int) -> dict[str, float]:
    """Return tokens per second of each method, the shares of the checksums in the time, and the spans per sequence."""
    split = PackedSplit([directory], "train")
    order = np.random.default_rng(1).permutation(len(split)).tolist()
    shards = [str(directory / shard.url) for shard in read_checked_index(located(directory), read_card(directory))]
    spans = [len(split.read(index)[1]) for index in order]

    def read() -> None:
        for index in order:
            split.read(index)

    def read_and_expand() -> None:
        for index in order:
            expand(split.read(index)[1], split.context_length)

    blocks = [
        memoryview((directory / shard.url).read_bytes())[start:end]
        for shard in read_checked_index(located(directory), read_card(directory))
        if shard.split == "train"
        for start, end in itertools.pairwise(shard.offsets)
    ]

    def checksum() -> None:
        for index in order:
            checksum_of_sequence(blocks[index])

    def webdataset() -> None:
        found = sum(len(sample["tokens.npy"]) for sample in wds.WebDataset(shards, shardshuffle=False).decode())
        if found != len(split) * split.context_length:
            raise RuntimeError(f"webdataset returned {found} tokens")

    tokens = len(split) * split.context_length
    ways = {"read": read, "and expand": read_and_expand, "webdataset": webdataset, "checksum": checksum}
    times = fastest(ways, repeats)
    shares = {f"checksum of {name}": times["checksum"] / times[name] for name in ("read", "and expand")}
    return {name: tokens / seconds for name, seconds in times.items()} | shares | {"spans": float(np.mean(spans))}


def some_spans(context: int, count: int) -> NDArray[Any]:
    """Return `count` spans of about the same length, two a document, that leave one in `count` + 1 as padding."""
    spans = np.zeros(count, SPAN_DTYPE)
    edges = np.linspace(0, context, count + 2).astype(np.int64)[:-1]
    spans["start"], spans["length"] = edges[:-1], np.diff(edges)
    spans["document"], spans["modality"], spans["weight"] = np.arange(count) // 2, np.arange(count) % 2, 1.0
    return spans


def by_slices(spans: NDArray[Any], length: int) -> tuple[NDArray[Any], ...]:
    """Expand spans with slice assignments."""
    segments, positions, weights = np.zeros(length, np.int32), np.zeros(length, np.int32), np.zeros(length, np.float32)
    vision, numbers = np.zeros(length, np.bool_), np.arange(length, dtype=np.int32)
    last, piece = -1, 0
    for start, count, number, modality, weight in spans.tolist():
        end = start + count
        begins = number != last
        last, piece = number, start if begins else piece
        segments[start:end], vision[start:end], weights[start:end] = number + 1, modality, weight
        positions[start:end] = numbers[start - piece : end - piece]
        weights[start] = 0 if begins else weight
    return segments, positions, vision, weights


def measure_expand(context: int, spans_per_sequence: int, repeats: int) -> float:
    """Return tokens per second of `expand` on one core."""
    return expand_rates(context, spans_per_sequence, repeats)["expand"]


def expand_rates(context: int, spans_per_sequence: int, repeats: int) -> dict[str, float]:
    """Return tokens per second of `expand` and of `by_slices`."""
    spans = some_spans(context, spans_per_sequence)
    times = max(1, (1 << 21) // context)

    def repeated(function: Callable[..., tuple[NDArray[Any], ...]]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(times):
                function(spans, context)

        return run

    if any(not np.array_equal(a, b) for a, b in zip(expand(spans, context), by_slices(spans, context), strict=True)):
        raise RuntimeError("expand and by_slices differ")
    seconds = fastest({"expand": repeated(expand), "by slices": repeated(by_slices)}, repeats)
    return {name: times * context / least for name, least in seconds.items()}


def spread(packed: Path, directory: Path, places: list[int], *, shards: int) -> Path:
    """Write a sparse dataset of `shards` shards; the sequences at `places` are a copy of one of `packed`."""
    per_shard = PER_SHARD
    first = read_checked_index(located(packed), read_card(packed))[0]
    with (packed / first.url).open("rb") as f:
        sequence = f.read(first.offsets[1])
    offsets = tuple(i * len(sequence) for i in range(per_shard + 1))
    directory.mkdir()
    entries = []
    for number in range(shards):
        name = shard_name("train", number, shards)
        with (directory / name).open("wb") as f:
            f.truncate(offsets[-1])
            for place in (p % per_shard for p in places if p // per_shard == number):
                os.pwrite(f.fileno(), sequence, offsets[place])
        facts = {"url": name, "nsamples": per_shard, "filesize": offsets[-1], "offsets": offsets}
        entries.append(dataclasses.replace(first, checksums=checksum_at(first.checksums, 0) * per_shard, **facts))
    (directory / INDEX).write_text(index_json(entries))
    data = (directory / INDEX).read_bytes()
    index = StoredFile(name=INDEX, filesize=len(data), sha256=hashlib.sha256(data).hexdigest())
    card = read_card(packed)
    card = dataclasses.replace(card, files={**card.files, INDEX: index}, shards=tuple(e.file for e in entries))
    write_text(directory / CARD, card.to_json())
    return directory


def measure_seek(packed: Path, directory: Path, options: Options) -> dict[str, float]:
    """Return the seconds to open a large index and to read single sequences at random positions."""
    places = np.random.default_rng(2).integers(0, options.shards * PER_SHARD, options.seeks).tolist()
    million = spread(packed, directory, places, shards=options.shards)
    opening = fastest({"open": lambda: PackedSplit([million], "train")}, options.repeats, time.perf_counter)["open"]
    split = PackedSplit([million], "train")
    times = []
    for place in places:
        started = time.perf_counter()
        split.read(place)
        times.append(time.perf_counter() - started)
    median, most = np.percentile(times, [50, 99]).tolist()
    return {"sequences": len(split), "open_s": opening, "median_s": median, "p99_s": most, "longest_s": max(times)}


def main(options: Options) -> None:
    if options.smoke:
        options = dataclasses.replace(options, contexts=(4096,), tokens=1 << 17, repeats=1, seeks=10, shards=3)
    results: dict[str, Any] = {"cores": os.cpu_count(), "read": [], "expand": []}
    print("million tokens per second of one core")
    print(f"{'context':>9}{'spans':>9}{'read':>9}{'and expand':>12}{'webdataset':>12}{'checksum':>17}")
    with tempfile.TemporaryDirectory() as folder:
        for context in options.contexts:
            packed = pack(Path(folder) / str(context), context=context, tokens=options.tokens)
            row = measure_read(packed, options.repeats)
            results["read"].append({"context": context, **row})
            rates = (row[name] / 1e6 for name in ("read", "and expand", "webdataset"))
            shares = (row[f"checksum of {name}"] for name in ("read", "and expand"))
            line = "{:>9,}{:>9.1f}{:>9.1f}{:>12.1f}{:>12.1f}{:>9.2%}{:>8.2%}"
            print(line.format(context, row["spans"], *rates, *shares), flush=True)
        small = pack(Path(folder) / "small", context=4096, tokens=1 << 18)
        results["seek"] = seek = measure_seek(small, Path(folder) / "million", options)
    print(f"\n{'context':>9}{'spans':>9}{'expand':>9}{'by slices':>12}")
    for context in options.contexts:
        for spans in (n for n in SPANS if n < context):
            rates_of = expand_rates(context, spans, options.repeats)
            results["expand"].append({"context": context, "spans": spans, **rates_of})
            print(
                "{:>9,}{:>9,}{:>9.1f}{:>12.1f}".format(context, spans, *(r / 1e6 for r in rates_of.values())),
                flush=True,
            )
    print(
        f"\n{seek['sequences']:,} sequences: the index opens in {seek['open_s']:.2f} s; reading one takes "
        f"{seek['median_s'] * 1e3:.2f} ms (median of {options.seeks}), 99th percentile {seek['p99_s'] * 1e3:.2f} ms, "
        f"maximum {seek['longest_s'] * 1e3:.2f} ms"
    )
    if options.out:
        options.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
