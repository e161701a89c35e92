"""The dedup job: which items of the workspace share content. Beam moves only the numbers of blocks, parts and ranges.

    number     in the driver: the items that take part, in the order of their content_id
    keys       one element per block of units: the hash keys of their signatures, 8 bytes each, sorted by partition
    collide    one element per part of the partitions: items in one bucket become pairs with collision counts
    compare    one element per range of pairs: the signatures of pairs with enough collisions are compared
    join       in the driver: the pairs of all ranges become one table, in order

Every step writes files for the next one (`pipeline.dedup.scratch`). The whole search runs again if a signature or an
option changed; it takes a small part of the time of the survey. Memory per worker does not grow with the corpus except
for the items, at 12 bytes, and the pairs of one range, at 9 bytes per item and in a few copies. A process has about 512
files open.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.dedup.candidates import MAX_ITEMS
from pipeline.dedup.collision_worker import CollisionWorker
from pipeline.dedup.comparison_worker import COUNTS, ComparisonWorker
from pipeline.dedup.config import DedupConfig
from pipeline.dedup.key_worker import KeyWorker
from pipeline.dedup.scratch import Division, Scratch
from pipeline.dedup.signature_table import number_items
from pipeline.dedup.similarity import Similarity
from pipeline.runtime.beam import Runner, Stage, run_stages
from pipeline.runtime.job_report import JobReport
from pipeline.runtime.progress import following
from pipeline.runtime.units import unit_files
from pipeline.runtime.workspace import Workspace
from schemas.errors import ConfigError, DatasetError
from schemas.files import read_json, write_array, write_json
from schemas.fingerprint import fingerprint, sha256_file
from schemas.records import PAIRS
from schemas.storage.location import Location
from schemas.tables import open_table, table_writer

VERSION = 3  # raise it if the same signatures would give other pairs
_FACTS = "pairs.json"
_BATCH_ROWS = 1 << 16


def dedup_items(workspace: Workspace, config: DedupConfig, runner: Runner) -> JobReport:
    """Find the items that share content and write `workspace.pairs`, unless nothing has changed."""
    started = time.monotonic()
    workspace.dedup.delete_folder()  # left by a run that was killed
    kinds = tuple(config.searches)
    items, ids = number_items(workspace, kinds)
    key = _fingerprint(workspace, config, ids)
    facts, new = _known_facts(workspace, key), 0
    if facts is None:
        facts, new = _search(workspace, config, kinds, items, runner), len(items)
        found = {"fingerprint": key, "sha256": sha256_file(workspace.pairs), "facts": facts}
        found |= {"kinds": kinds, "searched": digest_of_ids(ids)}
        write_json(workspace.root / _FACTS, found)
    return JobReport(
        job="dedup",
        items=len(items),
        kept=len(items),
        rejected={},
        new=new,
        seconds=time.monotonic() - started,
        facts=facts,
    ).checked()


def _fingerprint(workspace: Workspace, config: DedupConfig, ids: pa.Array) -> str:
    signatures = [sha256_file(path) for path in unit_files(workspace.signatures)]
    return fingerprint(VERSION, config.max_bucket, config.searches, digest_of_ids(ids), signatures)


def digest_of_ids(ids: pa.Array) -> str:
    """Return a SHA-256 of the content_ids of the items of a search."""
    searched = hashlib.sha256()
    for start in range(0, len(ids), _BATCH_ROWS):  # as Python objects they take five times the memory
        for content_id in ids.slice(start, _BATCH_ROWS).to_pylist():
            searched.update(f"{content_id}\n".encode())
    return searched.hexdigest()


def has_searched_all(workspace: Workspace) -> bool:
    """Return whether the last search had all items that the survey has now."""
    try:
        found = read_json(workspace.root / _FACTS)
        return bool(found["searched"] == digest_of_ids(number_items(workspace, found["kinds"])[1]))
    except (OSError, DatasetError, ValueError, KeyError, TypeError):
        return False


def _known_facts(workspace: Workspace, key: str) -> dict[str, int] | None:
    """Return the counts of the last search if the table of pairs is that of the fingerprint `key`, else None."""
    try:
        found = read_json(workspace.root / _FACTS)
        is_same = found["fingerprint"] == key and found["sha256"] == sha256_file(workspace.pairs)
        return dict(found["facts"]) if is_same else None
    except (OSError, DatasetError, ValueError, KeyError, TypeError):
        return None


def _search(
    workspace: Workspace, config: DedupConfig, kinds: Sequence[str], items: NDArray[Any], runner: Runner
) -> dict[str, int]:
    """Run the steps of the search, and return the counts to report."""
    if len(items) > MAX_ITEMS:
        raise ConfigError(
            f"dedup can search at most {MAX_ITEMS:,} items, got {len(items):,}: divide them over several workspaces"
        )
    scratch = Scratch(workspace.dedup / uuid.uuid4().hex[:8])  # workers of an earlier run may still write to theirs
    counts = np.bincount(items["kind"], minlength=len(kinds)).tolist()
    similarity = tuple(config.searches[kind].scaled_to(count) for kind, count in zip(kinds, counts, strict=True))
    try:
        write_array(scratch.items, items)
        ranges = _run_steps(workspace, config, scratch, similarity, items, runner)
        found = _join(workspace, [scratch.pairs(number) for number in range(ranges)])
    finally:
        workspace.dedup.delete_folder()
    return {name: n for name, n in found.items() if n or name != "full buckets"}


def _run_steps(
    workspace: Workspace,
    config: DedupConfig,
    scratch: Scratch,
    similarity: tuple[Similarity, ...],
    items: NDArray[Any],
    runner: Runner,
) -> int:
    """Run the steps that Beam distributes, and return the number of ranges that they wrote."""
    if not len(items):
        return 0
    division = Division.of(len(items), len(np.unique(items["unit"])))
    steps = (
        Stage("Keys", range(division.blocks), KeyWorker(workspace, scratch, similarity, division)),
        Stage("Collide", range(division.parts), CollisionWorker(scratch, config.max_bucket, division)),
        Stage("Compare", range(division.ranges), ComparisonWorker(workspace, scratch, similarity, division)),
    )
    log = workspace.start_log("dedup")
    with following("dedup", log, division.blocks + division.ranges):
        run_stages(steps, runner, log=log)
    return division.ranges


def _join(workspace: Workspace, parts: Sequence[Location]) -> Counter[str]:
    """Write the pairs of all ranges, which are in order, as one table, and return the sums of their counts."""
    counts: Counter[str] = Counter({"candidates": 0, "pairs": 0})
    with table_writer(workspace.pairs, PAIRS) as writer:
        for path in parts:
            with open_table(path) as part:
                counts.update(json.loads(part.metadata.metadata[COUNTS.encode()]))
                writer.write_table(part.read())
    return counts
