"""TODO."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dedup.pairs import read_pairs
from pipeline.filters.limit_filter import require_known
from pipeline.filters.numbers import measured_names
from pipeline.runtime.beam import Runner, run_selection
from pipeline.runtime.job_report import JobReport, report_on
from pipeline.runtime.units import unit_files, unit_number
from pipeline.runtime.workspace import Workspace, read_units, usable
from pipeline.select.config import SelectConfig
from pipeline.select.rules import Matches, Selector
from pipeline.select.selection import begin_selection, finish_selection, read_selection
from schemas.errors import DatasetError
from schemas.fingerprint import fingerprint, sha256_file
from schemas.records import SURVEY

VERSION = 1  # counts up when the same rows and options would give another selection


def select_items(workspace: Workspace, config: SelectConfig, runner: Runner) -> JobReport:
    """Judge every surveyed item and choose its split."""
    started = time.monotonic()
    surveyed = read_units(workspace.survey, SURVEY, ["uri", "fingerprint", "document_id", "reason", "measures"])
    columns = (surveyed[name].to_pylist() for name in ("uri", "fingerprint", "document_id", "reason"))
    found = sha256_file(workspace.pairs) if workspace.pairs.exists() else None
    key = fingerprint(VERSION, config, config.limits, sorted(zip(*columns, strict=True), key=str), found)
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
