"""The jobs, as a driver runs them: find what is to be done, run Beam over it, count, and say so.

Each job compares what is wanted with what is there by fingerprints, starts Beam for the rest only, and ends with
counts that must balance: items in = items that go on + items set aside, or it raises JobError.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.beam import Runner, run_each, run_selection
from pipeline.manifest import read_manifest
from pipeline.progress import console, following
from pipeline.select import SELECT_REASONS, SelectConfig, Selector
from pipeline.store import TokenStore, remove_unit, unit_files
from pipeline.survey import SurveyConfig, SurveyWorker, item_fingerprint
from pipeline.tokenize import TokenizeConfig, TokenizeWorker, load_codec, make_vocabulary, work_left
from pipeline.workspace import (
    Workspace,
    drop_units,
    read_manifest_unit,
    read_table_unit,
    read_units,
    usable,
    write_manifest,
)
from schemas.errors import DatasetError, JobError
from schemas.files import atomic, write_text
from schemas.fingerprint import fingerprint
from schemas.records import QUARANTINE, SURVEY
from schemas.vocab import Vocabulary
from tokenizer.text import TextTokenizer


@dataclass(frozen=True, kw_only=True)
class JobReport:
    """What a job did. `items` = `passed` + the sum of `rejected`; `new` of the items were worked on now."""

    job: str
    items: int
    passed: int
    rejected: dict[str, int]
    new: int
    seconds: float
    facts: dict[str, int] = field(default_factory=dict)

    def line(self) -> str:
        """Return the job's closing line."""
        aside = sum(self.rejected.values())
        reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(self.rejected.items()))
        facts = "".join(f", {n:,} {name}" for name, n in self.facts.items())
        work = f"{self.new} worked on" if self.new else "nothing to do"
        return (
            f"{self.job}: {self.items} in = {self.passed} on + {aside} set aside"
            f"{f' ({reasons})' if aside else ''}; {work}{facts}; {self.seconds:.1f} s"
        )


def survey(inputs: Sequence[str], workspace: Workspace, worker: SurveyWorker, runner: Runner) -> JobReport:
    """Read the manifest and look at every item that is new or has changed."""
    started = time.monotonic()
    manifest = read_manifest(inputs)
    if manifest.ignored:
        endings = ", ".join(f"{n} {ending}" for ending, n in manifest.ignored.items())
        console.print(f"survey: left alone, as their ending says neither video, image nor book: {endings}")
    units = write_manifest(workspace, manifest.items)
    drop_units(workspace.survey, units)
    stale = {unit: n for unit in units if (n := _survey_left(workspace, unit, worker.config)) is not None}
    if stale:
        with following("survey", workspace.log("survey"), sum(stale.values())):
            run_each(list(stale), worker, runner)
    table = read_units(workspace.survey, SURVEY)
    return _report("survey", len(manifest.items), table, sum(stale.values()), started)


def _survey_left(workspace: Workspace, unit: int, config: SurveyConfig) -> int | None:
    known = {row["uri"]: row for row in read_table_unit(workspace.survey, unit, SURVEY).to_pylist()}
    items = read_manifest_unit(workspace, unit).to_pylist()
    keys = {item["uri"]: item_fingerprint(item, config) for item in items}
    same = keys == {uri: row["fingerprint"] for uri, row in known.items()}
    return None if same and not (config.retry and any(r["reason"] for r in known.values())) else len(items)


def select(workspace: Workspace, config: SelectConfig, runner: Runner) -> JobReport:
    """Judge every surveyed item and choose its split."""
    started = time.monotonic()
    surveyed = read_units(workspace.survey, SURVEY)
    columns = (surveyed[name].to_pylist() for name in ("uri", "fingerprint", "document_id", "reason"))
    key = fingerprint(config, sorted(zip(*columns, strict=True), key=str))
    marker = workspace.selection / "selection.json"
    new = 0
    if not (marker.is_file() and json.loads(marker.read_text())["fingerprint"] == key):
        marker.unlink(missing_ok=True)
        drop_units(workspace.selection, ())
        selector = Selector(workspace=workspace, config=config)
        units = [int(path.stem.split("-")[1]) for path in unit_files(workspace.survey)]
        run_selection(units, read=selector.read, judge=selector.judge, write=selector.write, runner=runner)
        workspace.selection.mkdir(exist_ok=True)
        write_text(marker, json.dumps({"fingerprint": key, "config": asdict(config)}) + "\n")
        new = len(surveyed)
    selected = read_units(workspace.selection, SURVEY)
    report = _report("select", len(surveyed), selected, new, started)
    splits = Counter(usable(selected)["split"].to_pylist())
    return replace(report, facts={f"in {name}": splits[name] for name in sorted(splits)})


def tokenize(workspace: Workspace, config: TokenizeConfig, text_model: Path, runner: Runner) -> JobReport:
    """Make the tokens of every selected item that has none yet, or has those of another configuration."""
    started = time.monotonic()
    if not (workspace.selection / "selection.json").is_file():
        raise DatasetError(f"{workspace.selection} is not finished: run `longreel select` first")
    selected = usable(read_units(workspace.selection, SURVEY))
    codec, text = load_codec(config.vision), TextTokenizer.load(text_model)
    vocabulary = make_vocabulary(text, codec)
    units = sorted({workspace.unit_of(i) for i in selected["document_id"].to_pylist()})
    workspace.tokens.mkdir(exist_ok=True)
    for path in unit_files(workspace.tokens):
        if (unit := int(path.stem.split("-")[1])) not in units:
            remove_unit(workspace.tokens, unit)
    stale = {unit: n for unit in units if (n := work_left(workspace, unit, config, vocabulary)) is not None}
    facts = StoreFacts(
        vocabulary=vocabulary, frame_grid=codec.grid, frame_size=codec.frame_size, frame_rate=config.decode.fps
    )
    if stale:
        facts.path(workspace).unlink(missing_ok=True)
        worker = TokenizeWorker(workspace=workspace, config=config, text_model=text_model)
        with following("tokenize", workspace.log("tokenize"), sum(stale.values())):
            run_each(list(stale), worker, runner)
    write_text(facts.path(workspace), facts.to_json())
    rows = TokenStore(workspace.tokens).rows()
    report = _report("tokenize", len(selected), rows, sum(stale.values()), started)
    short = pc.sum(pc.greater(rows["frames_promised"], rows["frames"])).as_py() or 0
    totals = {"frames": pc.sum(rows["frames"]).as_py() or 0, "tokens": pc.sum(rows["length"]).as_py() or 0}
    return replace(report, facts=totals | ({"cut short": short} if short else {}))


@dataclass(frozen=True, kw_only=True)
class StoreFacts:
    """What holds for every document of a finished token store; `tokens/store.json`, written last."""

    vocabulary: Vocabulary
    frame_grid: tuple[int, int]
    frame_size: int
    frame_rate: float

    @staticmethod
    def path(workspace: Workspace) -> Path:
        """Return where the facts are kept."""
        return workspace.tokens / "store.json"

    def to_json(self) -> str:
        """Return the facts as JSON."""
        return json.dumps(asdict(self) | {"vocabulary": self.vocabulary.to_dict()}, indent=2, sort_keys=True) + "\n"

    @classmethod
    def read(cls, workspace: Workspace) -> StoreFacts:
        """Read the facts; raises DatasetError where tokenizing was not finished."""
        try:
            values = json.loads(cls.path(workspace).read_text(encoding="utf-8"))
            vocabulary, grid = Vocabulary.from_dict(values.pop("vocabulary")), tuple(values.pop("frame_grid"))
            return cls(vocabulary=vocabulary, frame_grid=grid, **values)
        except FileNotFoundError as e:
            raise DatasetError(f"{workspace.tokens} is not finished: run `longreel tokenize` to its end") from e
        except (ValueError, TypeError, KeyError) as e:
            raise DatasetError(f"{cls.path(workspace)} cannot be read: {e}; run `longreel tokenize` again") from e


def write_quarantine(workspace: Workspace) -> int:
    """Write every item that did not go on, with job and reason, and return how many there are."""
    judged = read_units(workspace.selection, SURVEY).to_pylist()
    rows = [row | {"job": "select" if row["reason"] in SELECT_REASONS else "survey"} for row in judged]
    if workspace.tokens.is_dir():
        rows += [row | {"job": "tokenize"} for row in TokenStore(workspace.tokens).rows().to_pylist()]
    aside = [{name: row[name] for name in QUARANTINE.names} for row in rows if row["reason"]]
    aside.sort(key=lambda r: (r["uri"], r["job"]))
    with atomic(workspace.quarantine) as temporary:
        pq.write_table(pa.Table.from_pylist(aside, QUARANTINE), temporary)
    return len(aside)


def _report(job: str, items: int, rows: pa.Table, new: int, started: float) -> JobReport:
    rejected = Counter(reason for reason in rows["reason"].to_pylist() if reason)
    passed = len(rows) - rejected.total()
    if items != passed + rejected.total():
        raise JobError(
            f"{job}: the counts do not balance: {items} in, {passed} on, {rejected.total()} set aside. "
            "Please report this; the outputs of this job must not be used."
        )
    return JobReport(
        job=job, items=items, passed=passed, rejected=dict(rejected), new=new, seconds=time.monotonic() - started
    )
