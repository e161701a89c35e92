"""Measures what planning costs the driver: seconds and memory per item by stage, and what corpus 24 GB can plan.

    python benchmarks/driver.py [--items 20000 40000] [--smoke] [--out driver.json]

A workspace is written whose items are all up to date, so that each stage only plans. Each stage runs in a process of
its own; its memory is the peak of the process less that of one that only imports. The cost of an item is the slope
between the two numbers of items, which leaves out what does not grow. The figures for a million items, and the corpus
that fits 24 GB, are extrapolated from it. What pack plans depends on the number of distinct lengths: see packing.py.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import tyro

from pipeline.dedup.signature_table import number_items
from pipeline.runtime.beam import Runner
from pipeline.runtime.growth import units_for
from pipeline.runtime.token_store import TokenStore, write_unit
from pipeline.runtime.workspace import Workspace, read_units, write_table_unit
from pipeline.select.config import SelectConfig
from pipeline.select.job import select_items, selection_fingerprint
from pipeline.select.selection import finish_selection, read_selection
from pipeline.sources.manifest import read_manifest
from pipeline.survey.absence import AbsenceConfig
from pipeline.survey.config import SurveyConfig
from pipeline.survey.job import survey_items
from pipeline.survey.taken_down import clear_manifest_rows
from pipeline.survey.worker import SurveyWorker
from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.worker import TokenizeWorker, items_to_tokenize
from schemas.fingerprint import fingerprint
from schemas.records import SIGNATURES, SURVEY
from schemas.rows import DocumentRow, SurveyRow, survey_table
from schemas.storage.location import located
from schemas.tables import write_table
from schemas.vocab import Vocabulary

DRIVER_BYTES = 24e9
MILLION = 1_000_000
KIND = "video"
VOCABULARY = Vocabulary(
    text_size=512,
    codebook_size=64,
    bos_id=1,
    eos_id=2,
    begin_vision=(4,),
    end_vision=(5,),
    text_sha256="a" * 64,
    vision_sha256="b" * 64,
)


@dataclass(frozen=True)
class Options:
    """Measure the memory and time of the driver."""

    items: tuple[int, int] = (20_000, 40_000)
    smoke: bool = False  # a few hundred items
    out: Path | None = None  # write the figures to this JSON file
    stage: str | None = None  # run one stage in this process
    workspace: Path | None = None  # of the stage


def write_workspace(root: Path, items: int) -> None:
    """Write a workspace of `items` items that no file exists for, surveyed, selected and tokenized."""
    workspace = Workspace.open(root, units=units_for(items))
    uris = [f"/videos/{number // 1000:05d}/a video with a name {number:09d}.mp4" for number in range(items)]
    plain = {"uri": uris, "kind": [KIND] * items, "license": ["CC-BY-4.0"] * items, "title": uris}
    write_table(located(root) / "listed.parquet", pa.table(plain))
    by_survey: dict[int, list[str]] = {}
    by_document: dict[int, list[str]] = {}
    for uri in uris:
        by_survey.setdefault(workspace.unit_of(uri), []).append(uri)
        by_document.setdefault(workspace.unit_of(fingerprint(uri)), []).append(uri)
    for unit, some in sorted(by_survey.items()):
        write_table_unit(workspace.survey, unit, survey_table(map(_surveyed, sorted(some))))
        write_table_unit(workspace.signatures, unit, _signatures(some))
    for unit, some in sorted(by_document.items()):
        write_table_unit(
            workspace.selection, unit, survey_table(replace(_surveyed(uri), split="train") for uri in some)
        )
        write_unit(workspace.tokens, unit, ((_tokenized(uri), np.zeros(0)) for uri in some), VOCABULARY.dtype)
    surveyed = read_units(workspace.survey, SURVEY)
    key = selection_fingerprint(workspace, SelectConfig(), surveyed)
    finish_selection(workspace, SelectConfig(), fingerprint=key, items=items)


def _surveyed(uri: str) -> SurveyRow:
    name = fingerprint(uri)
    return SurveyRow(uri=uri, kind=KIND, license="CC-BY-4.0", title=uri, document_id=name, content_id=name)


def _tokenized(uri: str) -> DocumentRow:
    header = {"kind": KIND, "split": "train", "uri": uri, "title": uri, "source": None, "license": "CC-BY-4.0"}
    return DocumentRow(document_id=fingerprint(uri), fingerprint="", **header, reason="unreadable")


def _signatures(uris: list[str]) -> pa.Table:
    names = sorted(map(fingerprint, uris))
    plain = {"content_id": names, "kind": [KIND] * len(names), "starts": [[0.0]] * len(names)}
    plain |= {"lengths": [[1.0]] * len(names), "samples": [[bytes(64)]] * len(names), "activity": [b""] * len(names)}
    return pa.table({**plain, "thumbnail": pa.nulls(len(names), pa.binary())}, SIGNATURES)


def plan_listing(workspace: Workspace) -> None:
    """Read the list of items that the user gives."""
    read_manifest([str(workspace.root / "listed.parquet")])


def plan_survey(workspace: Workspace) -> None:
    """Find the items, compare them with the known ones, write the manifest, find out which units have work."""
    worker = SurveyWorker(workspace=workspace, config=SurveyConfig())
    report = survey_items(
        [str(workspace.root / "listed.parquet")], workspace, worker, Runner(), absence=AbsenceConfig(max_absent=1)
    )
    assert report.new == 0, report


def plan_dedup(workspace: Workspace) -> None:
    """Number the items of the search."""
    number_items(workspace, (KIND,))


def plan_select(workspace: Workspace) -> None:
    """Find out whether anything has changed, and report."""
    assert select_items(workspace, SelectConfig(), Runner()).new == 0


def plan_tokenize(workspace: Workspace) -> None:
    """Find out which units have work, and sum up the index."""
    worker = TokenizeWorker(workspace=workspace, config=TokenizeConfig(), text_tokenizer=workspace.text_tokenizer)
    selected = read_selection(workspace).rows["document_id"]
    for unit in sorted({workspace.unit_of(name) for name in selected.to_pylist()}):
        items_to_tokenize(worker, unit, VOCABULARY)
    TokenStore(workspace.tokens).rows()


def plan_takedown(workspace: Workspace) -> None:
    """Replace rows of the manifest, as takedown does."""
    clear_manifest_rows(workspace, {})


STAGES: dict[str, Callable[[Workspace], None]] = {
    "import": lambda workspace: None,
    "listing": plan_listing,
    "survey": plan_survey,
    "dedup": plan_dedup,
    "select": plan_select,
    "tokenize": plan_tokenize,
    "takedown": plan_takedown,
}


def measure(stage: str, workspace: Path) -> tuple[float, float]:
    """Return seconds and peak bytes of a stage in a process of its own."""
    command = [sys.executable, __file__, "--stage", stage, "--workspace", str(workspace)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = json.loads(printed.splitlines()[-1])
    return found["seconds"], found["bytes"]


def run_stage(stage: str, root: Path) -> None:
    """Run a stage in this process, and print its figures."""
    workspace, started = Workspace.existing(root), time.monotonic()
    STAGES[stage](workspace)
    seconds = time.monotonic() - started
    print(json.dumps({"seconds": seconds, "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def main(options: Options) -> None:
    """Print a table, and write the figures."""
    if options.stage and options.workspace:
        run_stage(options.stage, options.workspace)
        return
    few, many = (200, 400) if options.smoke else options.items
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        roots = {n: Path(folder) / str(n) for n in (few, many)}
        for n, root in roots.items():
            write_workspace(root, n)
        base = measure("import", roots[few])[1]
        for stage in STAGES:
            if stage != "import":
                rows.append(_figures(stage, {n: measure(stage, root) for n, root in roots.items()}, base))
    print(
        f"{'stage':10} {'items':>8} {'s':>7} {'MB':>7} {'us/item':>8} {'B/item':>7} "
        f"{'1M: s':>7} {'1M: GB':>7} {'24 GB: items':>14}"
    )
    for row in rows:
        cells = [f"{row['stage']:10} {row['items']:8,} {row['seconds']:7.2f} {row['bytes'] / 1e6:7.0f}"]
        cells += [f"{row['us_per_item']:8.0f} {row['bytes_per_item']:7.0f} {row['us_per_item']:7.0f}"]
        print(*cells, f"{row['million_bytes'] / 1e9:7.2f} {row['items_in_24_gb']:14,}")
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1))


def _figures(stage: str, found: dict[int, tuple[float, float]], base: float) -> dict[str, float | str]:
    (few, (seconds_few, bytes_few)), (many, (seconds, peak)) = sorted(found.items())
    per_item = max((peak - bytes_few) / (many - few), 1.0)
    us_per_item = (seconds - seconds_few) / (many - few) * 1e6
    fixed = max(0.0, peak - per_item * many)
    return {
        "stage": stage,
        "items": many,
        "seconds": seconds,
        "bytes": peak - base,
        "us_per_item": us_per_item,
        "bytes_per_item": per_item,
        "million_bytes": fixed + per_item * MILLION,
        "items_in_24_gb": int((DRIVER_BYTES - fixed) / per_item),
    }


if __name__ == "__main__":
    main(tyro.cli(Options))
