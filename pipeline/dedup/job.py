"""The match job: which items of the workspace share content. Only numbers of units and ranges go through Beam.

    number     in the driver: the items that take part, in the order of their content_id
    keys       one element a unit: each signature's keys, 8 bytes a key, sorted by partition, into a file
    buckets    one element a part of the partitions: items that meet in a bucket become pairs with votes, into a file
    compare    one element a range of pairs: those with evidence enough are compared, both signatures read by row;
               what they share goes into a file
    join       in the driver: the files become one table, in order

The whole search runs again when a signature or the configuration has changed; it is a small part of what the survey
takes. Memory is at most one part's keys (1/256 of many) or one range's votes (1/64) a worker.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.dedup.book_similarity import BookSimilarity
from pipeline.dedup.candidates import MOST_ITEMS
from pipeline.dedup.signature_table import number_items
from pipeline.dedup.similarity import Similarity
from pipeline.dedup.video_similarity import ImageSimilarity, VideoSimilarity
from pipeline.dedup.workers import COUNTS, PLACES, BucketWorker, CompareWorker, KeyWorker, Spread
from pipeline.runtime.beam import Runner, Stage, run_stages
from pipeline.runtime.job_report import JobReport
from pipeline.runtime.progress import following
from pipeline.runtime.units import unit_files
from pipeline.runtime.workspace import Workspace
from schemas.errors import ConfigError
from schemas.files import atomic, write_array, write_text
from schemas.fingerprint import fingerprint, sha256_file
from schemas.records import PAIRS

SIMILARITY: Mapping[str, Similarity] = {
    "video": VideoSimilarity(),
    "image": ImageSimilarity(),
    "book": BookSimilarity(),
}

VERSION = 2  # counts up when the same signatures would give other pairs
_FACTS = "pairs.json"


@dataclass(frozen=True, kw_only=True)
class DedupConfig:
    """How the search goes."""

    kinds: tuple[str, ...] = tuple(SIMILARITY)
    """Kinds of items that are searched."""
    bucket: int = 32
    """Items that may meet under one key and all be compared with each other. Of more (a title card) each is compared
    with a few."""

    def __post_init__(self) -> None:
        if strange := sorted(set(self.kinds) - set(SIMILARITY)):
            raise ConfigError(f"kinds: nothing finds {strange[0]!r} alike; there are {', '.join(SIMILARITY)}")
        if self.bucket < 2:
            raise ConfigError(f"bucket must be at least 2, got {self.bucket}")


def dedup_items(workspace: Workspace, config: DedupConfig, runner: Runner) -> JobReport:
    """Find the items that share content and write `workspace.pairs`, unless nothing has changed."""
    started = time.monotonic()
    shutil.rmtree(workspace.dedup, ignore_errors=True)  # what a killed run left
    kinds = tuple(kind for kind in SIMILARITY if kind in config.kinds)
    places, ids = number_items(workspace, kinds)
    key = _fingerprint(workspace, config, kinds, ids)
    facts, new = _known_facts(workspace, key), 0
    if facts is None:
        facts, new = _search(workspace, config, kinds, places, runner), len(places)
        found = {"fingerprint": key, "sha256": sha256_file(workspace.pairs), "facts": facts}
        write_text(workspace.root / _FACTS, json.dumps(found) + "\n")
    return JobReport(
        job="dedup",
        items=len(places),
        kept=len(places),
        rejected={},
        new=new,
        seconds=time.monotonic() - started,
        facts=facts,
    ).checked()


def _fingerprint(workspace: Workspace, config: DedupConfig, kinds: Sequence[str], ids: pa.Array) -> str:
    going = hashlib.sha256()
    for name in ids.to_pylist():
        going.update(f"{name}\n".encode())
    signatures = [sha256_file(path) for path in unit_files(workspace.signatures)]
    return fingerprint(VERSION, config, {kind: SIMILARITY[kind] for kind in kinds}, going.hexdigest(), signatures)


def _known_facts(workspace: Workspace, key: str) -> dict[str, int] | None:
    """Return what was found the last time, where the table is still that of this fingerprint."""
    try:
        found = json.loads((workspace.root / _FACTS).read_text(encoding="utf-8"))
        same = found["fingerprint"] == key and found["sha256"] == sha256_file(workspace.pairs)
        return dict(found["facts"]) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _search(
    workspace: Workspace,
    config: DedupConfig,
    kinds: tuple[str, ...],
    places: NDArray[Any],
    runner: Runner,
) -> dict[str, int]:
    folder = workspace.dedup / uuid.uuid4().hex[:8]  # of this run: workers of another may outlive it
    if len(places) > MOST_ITEMS:
        raise ConfigError(f"a search has room for {MOST_ITEMS:,} items, here are {len(places):,}: match them in parts")
    counts = np.bincount(places["kind"], minlength=len(kinds)).tolist()
    likeness = tuple(SIMILARITY[kind].scaled_to(count) for kind, count in zip(kinds, counts, strict=True))
    spread = Spread.of(len(places))
    try:
        write_array(folder / PLACES, places)
        units = tuple(sorted(set(places["unit"].tolist())))
        if units:
            stages = (
                Stage("Keys", units, KeyWorker(workspace, folder, likeness)),
                Stage("Buckets", range(spread.parts), BucketWorker(folder, units, config.bucket, spread)),
                Stage("Compare", range(spread.ranges), CompareWorker(workspace, folder, likeness, spread)),
            )
            with following("dedup", workspace.log("dedup"), len(units) + spread.ranges):
                run_stages(stages, runner)
        found = _join(workspace, [folder / f"pairs-{number:03d}.parquet" for number in range(spread.ranges) if units])
    finally:
        shutil.rmtree(workspace.dedup, ignore_errors=True)
    return {name: n for name, n in found.items() if n or name != "overfull buckets"}


def _join(workspace: Workspace, parts: Sequence[Path]) -> Counter[str]:
    """Write the pairs of all ranges, which are in order, as one table, and return the sums of their counts."""
    counts: Counter[str] = Counter({"candidates": 0, "pairs": 0})
    with atomic(workspace.pairs) as temporary, pq.ParquetWriter(temporary, PAIRS) as writer:
        for path in parts:
            with pq.ParquetFile(path) as part:
                counts.update(json.loads(part.metadata.metadata[COUNTS.encode()]))
                writer.write_table(part.read())
    return counts
