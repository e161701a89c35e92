"""How the search scales: thousands of generated signatures, 1 % of them changed copies, through the whole job."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.dedup.frame_keys import VIEWS
from pipeline.runtime.workspace import Workspace, write_table_unit
from pipeline.video.analysis.frame_signature import SIDE, SIGNATURE_BYTES
from schemas.fingerprint import fingerprint
from schemas.records import SIGNATURES, SURVEY

SAMPLES = 8
_COPIES = 0.01
_UNITS = 64


def sizes_to(most: int) -> list[int]:
    """Return 10^4, 10^5 and so on up to `most`."""
    return [10**power for power in range(4, 13) if 10**power <= most]


def growth(sizes: Sequence[int], folder: Path) -> list[dict[str, Any]]:
    """Measure the search with each number of items in its own process, and print and return the figures."""
    rows: list[dict[str, Any]] = []
    names = (("items", 10), ("seconds", 10), ("CPU us/item", 13), ("peak MB", 10), ("keys", 13), ("compared", 10))
    header = "".join(f"{name:>{width}}" for name, width in (*names, ("pairs", 8), ("found", 9)))
    print(f"\ngrowth, {SAMPLES} samples per item\n\n{header}", flush=True)
    for items in sizes:
        command = [sys.executable, "-c", f"from near_duplicates_parts.growth import run; run({items}, {str(folder)!r})"]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
        row = json.loads(done.stdout.splitlines()[-1])
        rows.append(row)
        print(
            f"{row['items']:>10,}{row['seconds']:>10.1f}{row['cpu_s'] / items * 1e6:>13.0f}{row['peak_mb']:>10.0f}"
            f"{row['keys']:>13,}{row['candidates']:>10,}{row['pairs']:>8,}{row['found']:>9.4f}",
            flush=True,
        )
    return rows


def run(items: int, folder: str) -> None:
    """Generate the signatures of `items` items, search them, and print the figures as one line of JSON."""
    import resource

    import apache_beam as beam  # noqa: F401 - importing it takes 1 to 3 s, which are no part of the search

    from pipeline.dedup.config import DedupConfig, similarities
    from pipeline.dedup.job import dedup_items
    from pipeline.runtime.beam import Runner

    root = Path(folder) / f"growth-{items}"
    shutil.rmtree(root, ignore_errors=True)
    workspace = Workspace.open(root, units=_UNITS)
    planted = [pair for unit in range(_UNITS) for pair in _write(workspace, unit, items // _UNITS)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, used = time.perf_counter(), time.process_time()
    report = dedup_items(workspace, DedupConfig(), Runner())
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    found = pq.read_table(workspace.pairs.local()).select(["a", "b"]).to_pylist()
    there = {(row["a"], row["b"]) for row in found}
    similarity: Any = similarities()["video"]
    figures = {
        "items": report.items,
        "seconds": seconds,
        "cpu_s": cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "peak_before_mb": before / 1024,
        "keys": report.items * SAMPLES * 2 * VIEWS * similarity.tables,
        **report.facts,
        "planted": len(planted),
        "found": sum(tuple(sorted(pair)) in there for pair in planted) / len(planted),
        "not planted": len(there - {tuple(sorted(pair)) for pair in planted}),
    }
    shutil.rmtree(root)
    print(json.dumps(figures))


def _write(workspace: Workspace, unit: int, count: int) -> list[tuple[str, str]]:
    """Write one unit, whose last items copy the first ones of the previous unit; return these pairs."""
    copies = max(1, round(_COPIES * count))
    before = (unit - 1) % _UNITS
    pictures = [_pictures(unit, 0, copies), _pictures(unit, 1, count - 2 * copies)]
    pictures.append(_changed(_pictures(before, 0, copies), np.random.default_rng([unit, 2])))
    names = [fingerprint(unit, i) for i in range(count)]
    lists = pa.array(np.arange(count + 1) * SAMPLES, pa.int32())
    bytes_ = pa.py_buffer(np.concatenate(pictures).tobytes())
    offsets = pa.py_buffer((np.arange(count * SAMPLES + 1) * SIGNATURE_BYTES).astype(np.int32).tobytes())
    samples = pa.Array.from_buffers(pa.binary(), count * SAMPLES, [None, offsets, bytes_])
    at = pa.array(np.tile(np.arange(SAMPLES) * 0.5, count))
    columns = {
        "content_id": pa.array(names),
        "kind": pa.array(["video"] * count),
        "starts": pa.ListArray.from_arrays(lists, at),
        "lengths": pa.ListArray.from_arrays(lists, pa.array(np.full(count * SAMPLES, 0.5))),
        "samples": pa.ListArray.from_arrays(lists, samples),
        "activity": pa.array([b""] * count, pa.binary()),
        "thumbnail": pa.nulls(count, pa.binary()),
    }
    write_table_unit(workspace.signatures, unit, pa.table(columns, schema=SIGNATURES))
    surveyed = {name: pa.nulls(count, SURVEY.field(name).type) for name in SURVEY.names}
    surveyed |= {"uri": pa.array([f"{unit}/{i}" for i in range(count)]), "kind": columns["kind"]}
    table = pa.table(surveyed | {"content_id": columns["content_id"]}, schema=SURVEY)
    write_table_unit(workspace.survey, unit, table)
    return [(names[count - copies + i], fingerprint(before, i)) for i in range(copies)]


def _pictures(unit: int, part: int, count: int) -> NDArray[np.uint8]:
    """Return pictures [count * SAMPLES, SIDE, SIDE] with the spectrum of real ones (amplitude falls with frequency).

    The samples of an item share half of their variance.
    """
    rng = np.random.default_rng([unit, part])
    y, x = np.mgrid[:SIDE, :SIDE]
    fall = 1 / np.maximum(1, np.hypot(y, x)).astype(np.float32)
    fall[0, 0] = 0
    angle = np.pi * np.outer(np.arange(SIDE), np.arange(SIDE) + 0.5) / SIDE
    cosine = np.cos(angle).astype(np.float32)
    waves = rng.standard_normal((count, SAMPLES, SIDE, SIDE), np.float32)
    waves += rng.standard_normal((count, 1, SIDE, SIDE), np.float32)
    made = cosine.T @ (waves * fall) @ cosine
    return np.clip(128 + 18 * made, 0, 255).astype(np.uint8).reshape(-1, SIDE, SIDE)


def _changed(pictures: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the pictures with less contrast, a different brightness, and noise of two gray levels."""
    noisy = pictures * np.float32(0.8) + 30 + rng.normal(0, 2, pictures.shape).astype(np.float32)
    return np.clip(noisy, 0, 255).astype(np.uint8)
