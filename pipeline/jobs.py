"""The jobs, as a driver runs them: find what is to be done, run Beam over it, count, and say so.

Each job compares what is wanted with what is there by fingerprints, starts Beam for the rest only, and ends with
counts that must balance: items in = items that go on + items set aside, or it raises JobError. The last job, which
packs, has a module of its own (`pack`).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.beam import Runner, run_each, run_selection
from pipeline.limits import measured_names, require_known
from pipeline.manifest import read_manifest
from pipeline.progress import console, following
from pipeline.report import JobReport, report_on
from pipeline.select import (
    Matches,
    SelectConfig,
    Selector,
    begin_selection,
    finish_selection,
    read_pairs,
    read_selection,
)
from pipeline.store import FACTS, StoreFacts, TokenStore, one_of_each_item, remove_unit, unit_files, unit_number
from pipeline.survey import SurveyWorker, read_known
from pipeline.tokenize import TokenizeConfig, TokenizeWorker, load_codec, make_vocabulary, work_left
from pipeline.workspace import (
    Workspace,
    drop_units,
    read_manifest_unit,
    read_units,
    usable,
    write_manifest,
)
from schemas.errors import DatasetError
from schemas.files import write_text
from schemas.fingerprint import fingerprint, sha256_file
from schemas.records import SURVEY
from tokenizer.text import TextTokenizer

_SELECT_VERSION = 1  # counts up when the same rows and options would give another selection


def survey(inputs: Sequence[str], workspace: Workspace, worker: SurveyWorker, runner: Runner) -> JobReport:
    """Read the manifest and look at every item that is new or has changed."""
    started = time.monotonic()
    manifest = read_manifest(inputs)
    if manifest.ignored:
        endings = ", ".join(f"{n} {ending}" for ending, n in manifest.ignored.items())
        console.print(f"survey: left alone, as their ending is that of no kind: {endings}")
    units = write_manifest(workspace, manifest.items)
    drop_units(workspace.survey, units)
    drop_units(workspace.signatures, units)
    stale = {unit: n for unit in units if (n := _survey_left(workspace, unit, worker)) is not None}
    if stale:
        with following("survey", workspace.log("survey"), sum(stale.values())):
            run_each(list(stale), worker, runner)
    table = read_units(workspace.survey, SURVEY)
    return report_on("survey", len(manifest.items), table, sum(stale.values()), started)


def _survey_left(workspace: Workspace, unit: int, worker: SurveyWorker) -> int | None:
    known = read_known(workspace, unit)
    items = read_manifest_unit(workspace, unit).to_pylist()
    keys = {item["uri"]: worker.fingerprint(item) for item in items}
    same = keys == {uri: row["fingerprint"] for uri, row in known.items()}
    return None if same and not (worker.retry and any(r["reason"] for r in known.values())) else len(items)


def select(workspace: Workspace, config: SelectConfig, runner: Runner) -> JobReport:
    """Judge every surveyed item and choose its split."""
    started = time.monotonic()
    surveyed = read_units(workspace.survey, SURVEY, ["uri", "fingerprint", "document_id", "reason", "measures"])
    columns = (surveyed[name].to_pylist() for name in ("uri", "fingerprint", "document_id", "reason"))
    found = sha256_file(workspace.pairs) if workspace.pairs.exists() else None
    key = fingerprint(_SELECT_VERSION, config, config.limits, sorted(zip(*columns, strict=True), key=str), found)
    new = 0
    if not _is_selected(workspace, key):
        begin_selection(workspace)
        require_known(config.limits, measured_names(surveyed["measures"]))
        selector = Selector(workspace=workspace, config=config, matches=Matches.of(read_pairs(workspace), config.keep))
        units = [unit_number(path) for path in unit_files(workspace.survey)]
        run_selection(units, read=selector.read, judge=selector.judge, write=selector.write, runner=runner)
        finish_selection(workspace, config, fingerprint=key, items=len(surveyed))
        new = len(surveyed)
    selected = read_selection(workspace, ["reason", "split", "cluster"]).rows
    report = report_on("select", len(surveyed), selected, new, started)
    splits = Counter(usable(selected)["split"].to_pylist())
    facts = {f"in {name}": splits[name] for name in sorted(splits)}
    return replace(report, facts=facts, notes=_straddling(usable(selected)))


def _straddling(selected: pa.Table) -> tuple[str, ...]:
    """Tell how many items share content with others in the other split, which only a manifest can ask for."""
    clusters = selected.group_by("cluster").aggregate([("split", "count_distinct"), ("split", "count")])
    both = clusters.filter(pc.greater(clusters["split_count_distinct"], 1))
    items = pc.sum(both["split_count"]).as_py() or 0
    return (f"{items} items share content across the splits, as the manifest puts them there",) if items else ()


def _is_selected(workspace: Workspace, key: str) -> bool:
    try:
        return read_selection(workspace, ["uri"]).fingerprint == key
    except DatasetError:
        return False


def tokenize(
    workspace: Workspace, config: TokenizeConfig, text_model: Path, runner: Runner, *, retry: bool = False
) -> JobReport:
    """Make the tokens of every selected item that has none yet, or has those of another configuration."""
    started = time.monotonic()
    selected = usable(read_selection(workspace).rows)
    codec, text = load_codec(config.vision), TextTokenizer.load(text_model)
    vocabulary = make_vocabulary(text, codec)
    units = sorted({workspace.unit_of(i) for i in selected["document_id"].to_pylist()})
    workspace.tokens.mkdir(exist_ok=True)
    for path in unit_files(workspace.tokens):
        if (unit := unit_number(path)) not in units:
            remove_unit(workspace.tokens, unit)
    worker = TokenizeWorker(workspace=workspace, config=config, text_model=text_model, retry=retry)
    stale = {unit: n for unit in units if (n := work_left(worker, unit, vocabulary)) is not None}
    facts = StoreFacts(
        units=tuple(units),
        vocabulary=vocabulary,
        frame_grid=codec.grid,
        frame_size=codec.frame_size,
        frame_rate=float(config.decode.fps),
    )
    if stale:
        (workspace.tokens / FACTS).unlink(missing_ok=True)
        with following("tokenize", workspace.log("tokenize"), sum(stale.values())):
            run_each(list(stale), worker, runner)
    write_text(workspace.tokens / FACTS, facts.to_json())
    rows = TokenStore(workspace.tokens).rows()
    items = one_of_each_item(rows)
    report = report_on("tokenize", len(selected), items, sum(stale.values()), started)
    short = pc.sum(pc.greater(rows["frames_promised"], rows["frames"])).as_py() or 0
    documents = {"documents": report.passed + len(rows) - len(items)} if len(rows) > len(items) else {}
    totals = documents | {"frames": pc.sum(rows["frames"]).as_py() or 0, "tokens": pc.sum(rows["length"]).as_py() or 0}
    return replace(report, facts=totals | ({"cut short": short} if short else {}))
