"""The tokenize job: turn every selected item into tokens, unless its stored tokens are up to date."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.kinds.registry import kind_of
from pipeline.runtime.beam import Runner, run_each
from pipeline.runtime.growth import drop_other_divisions
from pipeline.runtime.job_report import JobReport, report_on
from pipeline.runtime.progress import following
from pipeline.runtime.token_store import FACTS, StoreFacts, TokenStore, one_of_each_item, remove_unit
from pipeline.runtime.units import unit_files, unit_number
from pipeline.runtime.workspace import Workspace, usable
from pipeline.select.selection import read_selection
from pipeline.sources.access import STRICT, AccessConfig
from pipeline.tokenize.config import TokenizeConfig
from pipeline.tokenize.tools import load_codec, make_vocabulary
from pipeline.tokenize.worker import TokenizeWorker, items_to_tokenize
from schemas.errors import ConfigError
from schemas.files import write_text
from schemas.large_tables import values_of
from schemas.storage.location import Location, located
from tokenizer.text.model import BEGIN_VISION, END_VISION
from tokenizer.text.tokenizer import TextTokenizer
from tokenizer.weights_file import is_shipped

_REPORTED = ("document_id", "reason", "frames", "frames_promised", "length", "cues", "cues_outside")


def tokenize_items(
    workspace: Workspace,
    config: TokenizeConfig,
    text_tokenizer: Location | Path,
    runner: Runner,
    *,
    retry: bool = False,
    access: AccessConfig = STRICT,
) -> JobReport:
    """Tokenize every selected item that has no tokens yet, or those of another configuration."""
    started = time.monotonic()
    rows = usable(read_selection(workspace, ["document_id", "kind", "reason"]).rows)
    selected = rows["document_id"]
    codec, text = load_codec(config.vision), TextTokenizer.load(text_tokenizer)
    if not text.begin_vision:
        _require_texts(rows["kind"], text_tokenizer)
    vocabulary = make_vocabulary(text, codec)
    units = sorted(wanted := set(map(workspace.unit_of, values_of(selected))))
    for path in unit_files(workspace.tokens):
        if (unit := unit_number(path)) not in wanted:
            remove_unit(workspace.tokens, unit)
    worker = TokenizeWorker(
        workspace=workspace, config=config, text_tokenizer=located(text_tokenizer), access=access, retry=retry
    )
    stale = {unit: n for unit in units if (n := items_to_tokenize(worker, unit, vocabulary)) is not None}
    facts = StoreFacts(
        units=tuple(units),
        vocabulary=vocabulary,
        frame_grid=codec.grid,
        frame_size=codec.frame_size,
        frame_rate=float(config.decode.fps),
    )
    if stale:
        (workspace.tokens / FACTS).delete()
        log = workspace.start_log("tokenize")
        with following("tokenize", log, sum(stale.values())):
            run_each(list(stale), worker, runner, log=log, encodes=True, reads=_local_models(config, text_tokenizer))
    write_text(workspace.tokens / FACTS, facts.to_json())
    drop_other_divisions(workspace)
    rows = TokenStore(workspace.tokens).rows(_REPORTED)
    items = one_of_each_item(rows)
    report = report_on("tokenize", len(selected), items, sum(stale.values()), started)
    short = pc.sum(pc.greater(rows["frames_promised"], rows["frames"])).as_py() or 0
    documents = {"documents": report.kept + len(rows) - len(items)} if len(rows) > len(items) else {}
    cues, outside = (pc.sum(rows[name]).as_py() or 0 for name in ("cues", "cues_outside"))
    transcripts = {"cues": cues, "cues outside their videos": outside}
    totals = documents | {"frames": pc.sum(rows["frames"]).as_py() or 0, "tokens": pc.sum(rows["length"]).as_py() or 0}
    optional = {name: count for name, count in (transcripts | {"cut short": short}).items() if count}
    return replace(report, facts=totals | optional)


def _require_texts(kinds: pa.ChunkedArray, text_tokenizer: Location | Path) -> None:
    """Raise ConfigError if some of the selected items have frames, which the text tokenizer cannot mark."""
    counted = pc.value_counts(kinds).to_pylist()
    counts = {found["values"]: found["counts"] for found in counted if not kind_of(found["values"]).is_text}
    if counts:
        listed = ", ".join(f"{count:,} of kind {kind}" for kind, count in sorted(counts.items()))
        raise ConfigError(
            f"the text tokenizer {text_tokenizer} has no pieces for {BEGIN_VISION} and {END_VISION}, so it cannot mark "
            f"the frames of selected items ({listed}): tokenize texts alone, or use a tokenizer that has them, such as "
            "one of `longreel train-text-tokenizer`"
        )


def _local_models(config: TokenizeConfig, text_tokenizer: Location | Path) -> list[str]:
    """Return the local paths of models that workers load; they have the shipped ones."""
    vision = [] if is_shipped(config.vision) else [Location.parse(config.vision)]
    return [str(place) for place in (located(text_tokenizer), *vision) if place.is_local]
