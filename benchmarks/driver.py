"""Measures what planning costs the driver: seconds and memory per item by stage, and what corpus 24 GB can plan.

    python benchmarks/driver.py [--items 250000 1000000] [--smoke] [--out driver.json]

A workspace is written whose items are all up to date, so that each stage only plans; its documents are short texts of
500 lengths. Each stage runs in a process of its own. Memory is the peak of the process, that of imports included; time
is processor time, as other processes do not change it. The cost of an item is the slope between the two numbers of
items, by which the corpus that fits 24 GB is extrapolated. How packing depends on the lengths: see packing.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tyro
from numpy.typing import NDArray

from pipeline.dataset.verify.workspace import workspace_problems
from pipeline.dedup.job import digest_of_ids, has_searched_all
from pipeline.dedup.signature_table import number_items
from pipeline.packing.assign import RankCounter
from pipeline.packing.config import PackConfig
from pipeline.packing.job import HistogramWorker, Stage
from pipeline.packing.length_histograms import read_histograms, sum_histograms
from pipeline.packing.plan import make_plan
from pipeline.reports.dry_run import dry_run_report
from pipeline.reports.listing import ItemFilter, list_items
from pipeline.reports.page import render
from pipeline.runtime.beam import Runner
from pipeline.runtime.growth import units_for
from pipeline.runtime.manifest_file import read_listed
from pipeline.runtime.token_store import FACTS, StoreFacts, TokenStore, write_unit
from pipeline.runtime.units import unit_files, unit_name, unit_number
from pipeline.runtime.workspace import Workspace, read_units, write_table_unit
from pipeline.select.config import SelectConfig
from pipeline.select.job import select_items, selection_fingerprint
from pipeline.select.quarantine import write_quarantine
from pipeline.select.selection import finish_selection, read_selection
from pipeline.sources.manifest import read_manifest
from pipeline.survey.absence import AbsenceConfig
from pipeline.survey.config import SurveyConfig
from pipeline.survey.job import survey_items
from pipeline.survey.taken_down import clear_manifest_rows
from pipeline.survey.worker import SurveyWorker
from pipeline.takedown.find import find
from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.worker import TokenizeWorker, items_to_tokenize
from schemas.files import write_json, write_text
from schemas.fingerprint import fingerprint
from schemas.records import PAIRS, SIGNATURES, SURVEY, TOKENS
from schemas.rows import DocumentRow, SurveyRow, document_table, survey_table
from schemas.storage.location import located
from schemas.tables import write_table
from schemas.vocab import TEXT, Vocabulary

DRIVER_BYTES = 24e9
KIND, TEXT_KIND, LICENSE = "video", "book", "CC-BY-4.0"
LENGTHS = 500
STAGE = Stage(name="4096", context_length=4096, config=PackConfig(sentence_reach=0))
SURVEYED = SurveyRow(uri="", kind=KIND, license=LICENSE)
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

    items: tuple[int, int] = (250_000, 1_000_000)
    smoke: bool = False  # a few hundred items, all stages in this process: no figures of memory
    out: Path | None = None  # write the figures to this JSON file
    stage: str | None = None  # run one stage in this process
    workspace: Path | None = None  # of the stage


def write_workspace(root: Path, items: int) -> None:
    """Write a workspace of `items` items that no file exists for, surveyed, selected and tokenized."""
    workspace = Workspace.open(root, units=units_for(items))
    numbers = np.arange(items)
    uris = pa.array([f"/videos/{number // 1000:05d}/a video with a name {number:09d}.mp4" for number in range(items)])
    names = pa.array([fingerprint(uri) for uri in uris.to_pylist()])
    licenses = pa.repeat(LICENSE, items)
    write_table(
        located(root) / "listed.parquet",
        pa.table({"uri": uris, "kind": pa.repeat(KIND, items), "license": licenses, "title": uris}),
    )
    ids = {"uri": uris, "title": uris, "document_id": names, "content_id": names}
    for unit, some in _units(workspace, uris, numbers):
        own = {name: column.take(some) for name, column in ids.items()}
        write_table_unit(workspace.survey, unit, _repeated(survey_table([SURVEYED]), own).sort_by("uri"))
        write_table_unit(workspace.signatures, unit, _signatures(own["content_id"]))
    for unit, some in _units(workspace, names, numbers):
        own = {name: column.take(some) for name, column in ids.items()}
        write_table_unit(workspace.selection, unit, _repeated(survey_table([replace(SURVEYED, split="train")]), own))
        del own["content_id"]
        _write_tokens(workspace, unit, own)
    write_table(workspace.pairs, PAIRS.empty_table())
    surveyed = read_units(workspace.survey, SURVEY)
    key = selection_fingerprint(workspace, SelectConfig(), surveyed)
    finish_selection(workspace, SelectConfig(), fingerprint=key, items=items)
    units = tuple(unit_number(path) for path in unit_files(workspace.tokens))
    facts = StoreFacts(units=units, vocabulary=VOCABULARY, frame_grid=(8, 8), frame_size=128, frame_rate=1.0)
    write_text(workspace.tokens / FACTS, facts.to_json())
    _, searched = number_items(workspace, (KIND,))
    write_json(workspace.root / "pairs.json", {"kinds": [KIND], "searched": digest_of_ids(searched)})
    with HistogramWorker(workspace, STAGE).open() as count:
        for unit in units:
            count(unit)


def _units(workspace: Workspace, identities: pa.Array, numbers: NDArray[np.int64]) -> Iterator[tuple[int, pa.Array]]:
    """Yield each unit with the numbers of its items."""
    unit_of = np.array([workspace.unit_of(identity) for identity in identities.to_pylist()])
    order = np.argsort(unit_of, kind="stable")
    units, starts = np.unique(unit_of[order], return_index=True)
    for unit, some in zip(units.tolist(), np.split(numbers[order], starts[1:]), strict=True):
        yield unit, pa.array(some)


def _repeated(row: pa.Table, columns: Mapping[str, pa.Array]) -> pa.Table:
    """Return copies of a row with these columns."""
    count = len(next(iter(columns.values())))
    table = row.take(pa.array(np.zeros(count, np.int64)))
    for name, column in columns.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), column)
    return table


def _write_tokens(workspace: Workspace, unit: int, columns: Mapping[str, pa.Array]) -> None:
    """Write documents of zeros."""
    lengths = [20 + int(name[:6], 16) % LENGTHS for name in columns["document_id"].to_pylist()]
    one = DocumentRow(document_id="", fingerprint="", kind=TEXT_KIND, split="train", uri="", license=LICENSE)
    index = write_unit(workspace.tokens, unit, ((one, np.zeros(n, int)) for n in lengths), VOCABULARY.dtype)
    spans = [[{"start": 0, "length": n, "modality": TEXT, "weight": 1.0}] for n in lengths]
    columns = {**columns, "spans": pa.array(spans, TOKENS.field("spans").type)}
    columns |= {name: index[name].combine_chunks() for name in ("unit", "batch", "row", "length")}
    table = _repeated(document_table([one]), columns).replace_schema_metadata(index.schema.metadata)
    write_table(workspace.tokens / f"{unit_name(unit)}.parquet", table)


def _signatures(names: pa.Array) -> pa.Table:
    names, count = names.sort(), len(names)
    plain = {"content_id": names, "kind": [KIND] * count, "starts": [[0.0]] * count}
    plain |= {"lengths": [[1.0]] * count, "samples": [[bytes(64)]] * count, "activity": [b""] * count}
    return pa.table({**plain, "thumbnail": pa.nulls(count, pa.binary())}, SIGNATURES)


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
    """Number the items of the search, and compare them with those of the last one."""
    assert has_searched_all(workspace)


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


def plan_pack(workspace: Workspace) -> None:
    """Add the length histograms of the units, plan, and count the ranks at which each unit starts."""
    facts, folder = StoreFacts.read(workspace.tokens), workspace.length_histograms(STAGE.name)
    files = [folder / f"{unit_name(unit)}.parquet" for unit in facts.units]
    histograms = sum_histograms(map(read_histograms, files))
    plan = make_plan(
        histograms, STAGE.config, context_length=STAGE.context_length, vocabulary=facts.vocabulary, text_factor=1.0
    )
    ranks = RankCounter()
    starts = {
        unit: ranks.start(unit, read_histograms(file).splits) for unit, file in zip(facts.units, files, strict=True)
    }
    assert plan.documents
    assert starts


def plan_takedown(workspace: Workspace) -> None:
    """Find an item, its copies and near-duplicates, and replace its row of the manifest."""
    uri = read_listed(workspace, ["uri"])["uri"][0].as_py()
    found = find(workspace, [uri], [], near_duplicates=True, min_containment=0.5)
    clear_manifest_rows(workspace, {target.uri: "20260101T000000Z-00000000" for target in found.targets})


def show_list(workspace: Workspace) -> None:
    """List the items."""
    list_items(workspace, ItemFilter())


def show_report(workspace: Workspace) -> None:
    """Render the report."""
    render(workspace)


def show_dry_run(workspace: Workspace) -> None:
    """Judge all items."""
    list(dry_run_report(workspace, SelectConfig()))


def check(workspace: Workspace) -> None:
    """Verify the tables and the token store of the workspace."""
    list(workspace_problems(workspace))


STAGES: dict[str, Callable[[Workspace], object]] = {
    "import": lambda workspace: None,
    "listing": plan_listing,
    "survey": plan_survey,
    "dedup": plan_dedup,
    "select": plan_select,
    "tokenize": plan_tokenize,
    "pack": plan_pack,
    "quarantine": write_quarantine,
    "list": show_list,
    "dry run": show_dry_run,
    "report": show_report,
    "verify": check,
    "takedown": plan_takedown,
}


def measure(stage: str, workspace: Path, *, here: bool) -> tuple[float, float]:
    """Return the processor seconds and peak bytes of a stage, in a process of its own or in this one."""
    if here:
        return run_stage(stage, workspace)
    command = [sys.executable, __file__, "--stage", stage, "--workspace", str(workspace)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    seconds, peak = json.loads(printed.splitlines()[-1])
    return seconds, peak


def run_stage(stage: str, root: Path) -> tuple[float, float]:
    """Run a stage in this process, and return its figures."""
    workspace, started = Workspace.existing(root), time.process_time()
    STAGES[stage](workspace)
    return time.process_time() - started, _peak_bytes()


def _peak_bytes() -> int:
    """Return the peak memory of this program: getrusage counts what its parent had when it was started, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


def main(options: Options) -> None:
    """Print a table, and write the figures."""
    if options.stage and options.workspace:
        print(json.dumps(run_stage(options.stage, options.workspace)))
        return
    few, many = (200, 400) if options.smoke else options.items
    with tempfile.TemporaryDirectory() as folder:
        roots = {n: Path(folder) / str(n) for n in (few, many)}
        for n, root in roots.items():
            started = time.monotonic()
            write_workspace(root, n)
            print(f"workspace of {n:,} items written in {time.monotonic() - started:.0f} s", flush=True)
        print(f"{'stage':10}{'items':>11}{'CPU s':>8}{'peak MB':>9}{'us/item':>9}{'B/item':>8}{'24 GB: items':>15}")
        rows = []
        for stage in STAGES:
            row = _figures(stage, {n: measure(stage, root, here=options.smoke) for n, root in roots.items()})
            rows.append(row)
            print(
                f"{stage:10}{many:11,}{row['seconds']:8.1f}{row['bytes'] / 1e6:9.0f}{row['us_per_item']:9.1f}"
                f"{row['bytes_per_item']:8.0f}{row['items_in_24_gb']:15,}",
                flush=True,
            )
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1))


def _figures(stage: str, found: dict[int, tuple[float, float]]) -> dict[str, Any]:
    (few, (seconds_few, bytes_few)), (many, (seconds, peak)) = sorted(found.items())
    per_item = max((peak - bytes_few) / (many - few), 1.0)
    return {
        "stage": stage,
        "items": many,
        "seconds": seconds,
        "bytes": peak,
        "us_per_item": (seconds - seconds_few) / (many - few) * 1e6,
        "bytes_per_item": per_item,
        "items_in_24_gb": int((DRIVER_BYTES - peak) / per_item) + many,
    }


if __name__ == "__main__":
    main(tyro.cli(Options))
