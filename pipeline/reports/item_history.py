"""Dossier: all that a workspace knows about one item, gathered from what each job left there, at any stage.

Only the item's own unit of each job is read, and of the whole tables the columns that find an item by its address or
id. Everything in a dossier is plain: text, numbers, lists and mappings that JSON can hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.filters.limit import Limit
from pipeline.filters.numbers import numbers
from pipeline.reports.find_item import Catalogue
from pipeline.runtime.token_store import items_of
from pipeline.runtime.units import read_rows, unit_name
from pipeline.runtime.workspace import Workspace, usable
from pipeline.select.config import SelectConfig, as_options
from pipeline.select.selection import Selection, read_selection
from schemas.dataset import LEDGER, read_card
from schemas.errors import DatasetError
from schemas.records import MANIFEST, PAIRS, SURVEY, TOKENS

Row = Mapping[str, Any]
_LISTED = 20  # pairs, and items of a cluster
GOES_ON, SET_ASIDE, NOT_YET = "goes on", "set aside", "not yet"
_STREAM = ("container", "codec", "width", "height", "duration_s", "frame_rate", "bit_depth", "interlaced", "crop")
_SURVEYED = ("document_id", "content_id", "size_bytes", *_STREAM, "encoding", "language")
_TOKENIZED = ("length", "frames", "frames_promised")


def gather(workspace: Workspace, item: str) -> dict[str, Any]:
    """Return the dossier of an item; see Catalogue.find for what `item` may be, and for what it raises."""
    catalogue = Catalogue.of(workspace)
    selected = _selection(workspace)
    uri = _foremost(catalogue.find(item), selected)
    row = _row(workspace.survey, workspace.unit_of(uri), uri)
    if row is None:
        listed = pq.read_table(workspace.manifest, filters=[("uri", "=", uri)]).to_pylist()[0]
        return {"item": _facts(listed, MANIFEST.names), "survey": {"state": NOT_YET}}
    judged = _row(workspace.selection, workspace.unit_of(row["document_id"] or uri), uri) if selected else None
    config = selected.config if selected else SelectConfig()
    return {
        "item": _facts(row, MANIFEST.names),
        "survey": _verdict(row) | _facts(row, _SURVEYED),
        "copies": [other for other in catalogue.addresses(row["content_id"]) if other != uri],
        "options": as_options(config),
        "numbers": number_facts(numbers(row), config.limits),
        "cuts": (judged or row)["cuts"] or [],
        "dedup": _dedup(workspace, row["content_id"], catalogue),
        "select": _select(row, judged, selected, catalogue) if selected and judged else {"state": NOT_YET},
        "tokenize": _tokenize(workspace, judged),
        "pack": list(_packed(workspace, row["document_id"])),
    }


def number_facts(found: Mapping[str, float], limits: Mapping[str, Limit]) -> list[dict[str, Any]]:
    """Return every number with its limit: first those that have one in the table of limits, in its order."""
    facts = []
    for name in [*(n for n in limits if n in found), *sorted(n for n in found if n not in limits)]:
        limit = limits.get(name, Limit(name))
        broken = limit.reject(found[name])
        facts.append(
            {
                "name": name,
                "value": found[name] if math.isfinite(found[name]) else str(found[name]),
                "at_least": None if math.isinf(limit.low) else limit.low,
                "at_most": None if math.isinf(limit.high) else limit.high,
                "broken": broken[0].value if broken else None,
                "what": limit.what,
            }
        )
    return facts


def _facts(row: Row, names: Iterable[str]) -> dict[str, Any]:
    return {name: row[name] for name in names if row[name] is not None}


def _verdict(row: Row) -> dict[str, Any]:
    return {"state": SET_ASIDE if row["reason"] else GOES_ON, **_facts(row, ("reason", "detail"))}


def _row(folder: Path, unit: int, uri: str) -> Row | None:
    """Return a row of a survey or selection unit; None where there is none yet."""
    path = folder / f"{unit_name(unit)}.parquet"
    if not path.exists():
        return None
    table = read_rows(path, SURVEY)
    rows = table.filter(pc.equal(table["uri"], uri)).to_pylist(maps_as_pydicts="strict")
    return rows[0] if rows else None


def _selection(workspace: Workspace) -> Selection | None:
    try:
        return read_selection(workspace, ["uri", "reason", "cluster", "split"])
    except DatasetError:  # there is none, or it is not finished
        return None


def _foremost(found: list[str], selected: Selection | None) -> str:
    """Return of several copies the one that goes on, else the first."""
    if len(found) > 1 and selected:
        going = usable(selected.rows)["uri"]
        return next(iter(going.filter(pc.is_in(going, pa.array(found, pa.string()))).to_pylist()), found[0])
    return found[0]


def _dedup(workspace: Workspace, content_id: str | None, catalogue: Catalogue) -> dict[str, Any]:
    if not workspace.pairs.exists():
        return {"state": NOT_YET}
    name = content_id or ""
    mine = (pc.field("a") == name) | (pc.field("b") == name)
    pairs = []
    for row in pq.read_table(workspace.pairs, schema=PAIRS, filters=mine).to_pylist():
        one, other = ("a", "b") if row["a"] == name else ("b", "a")
        pairs.append(
            {
                "with": row[other],
                "addresses": catalogue.addresses(row[other], 1),
                "it_has_of_this": row[f"containment_{one}"],
                "this_has_of_it": row[f"containment_{other}"],
                "similarity": row["similarity"],
                "shared": row[f"shared_{one}"],
            }
        )
    pairs.sort(key=lambda p: (-p["it_has_of_this"], p["with"]))
    return {"state": "done", "found": len(pairs), "pairs": pairs[:_LISTED]}


def _select(row: Row, judged: Row, selection: Selection, catalogue: Catalogue) -> dict[str, Any]:
    facts = _verdict(judged) | {"cluster": judged["cluster"]}
    members = selection.rows.filter(pc.equal(selection.rows["cluster"], judged["cluster"]))["uri"]
    if len(members) > 1:
        facts |= {"cluster_size": len(members), "cluster_items": members.sort().slice(0, _LISTED).to_pylist()}
    if judged["keeper"]:
        going = usable(selection.rows)["uri"]
        copies = catalogue.addresses(judged["keeper"], len(catalogue.table))
        kept = going.filter(pc.is_in(going, pa.array(copies, pa.string()))).to_pylist()
        facts |= {"keeper": judged["keeper"], "kept": kept[0] if kept else None}
    if not judged["reason"]:
        table = catalogue.table
        of_others = table["split"].filter(pc.is_in(table["uri"], members.combine_chunks())).drop_null()
        why = "a hash of its cluster"
        if row["split"]:
            why = "the manifest"
        elif len(of_others):
            why = "the manifest, for others of its cluster"
        facts |= {"split": judged["split"], "split_by": why}
    return facts


def _tokenize(workspace: Workspace, judged: Row | None) -> dict[str, Any]:
    if judged is None or judged["reason"]:
        return {"state": NOT_YET if judged is None else "does not come to it"}
    path = workspace.tokens / f"{unit_name(workspace.unit_of(judged['document_id']))}.parquet"
    if path.exists():
        table = read_rows(path, TOKENS)
        rows = table.filter(pc.equal(items_of(table["document_id"]), judged["document_id"])).to_pylist()
        if rows and rows[0]["reason"]:
            return _verdict(rows[0])
        if rows:  # several where clips of a video are documents of their own
            sums = {name: sum(row[name] for row in rows) for name in _TOKENIZED}
            return _verdict(rows[0]) | {"documents": len(rows)} | sums
    return {"state": NOT_YET}


def _packed(workspace: Workspace, document_id: str | None) -> Iterator[dict[str, Any]]:
    """Yield for each dataset what of the document lies in it, by its ledger."""
    for folder in sorted(path for path in (workspace.root / "packed").glob("*") if path.is_dir()):
        facts: dict[str, Any] = {"dataset": str(folder.relative_to(workspace.root))}
        try:
            card = read_card(folder)
        except DatasetError as e:
            yield facts | {"state": NOT_YET, "detail": str(e)}
            continue
        facts["context_length"] = card.context_length
        rows = _ledger(folder / LEDGER, document_id or "")
        if len(rows):
            sequences = pc.unique(rows["sequence"])
            yield facts | {
                "state": "packed",
                "split": rows["split"][0].as_py(),
                "sequences": len(sequences),
                "first": sequences[0].as_py(),
                "copies": pc.max(rows["copy"]).as_py() + 1,
                "tokens": pc.sum(rows["length"]).as_py(),
                "address": rows["uri"][0].as_py(),
            }
        elif any(name.partition("#")[0] == document_id for name in card.forgotten):
            yield facts | {"state": "forgotten"}
        else:
            yield facts | {"state": "not in it", "left_out": dict(card.left_out)}


def _ledger(path: Path, document_id: str) -> pa.Table:
    columns = ["sequence", "length", "copy", "split", "uri"]
    mine = (pc.field("document_id") == document_id) | pc.starts_with(pc.field("document_id"), f"{document_id}#")
    try:
        return pq.read_table(path, columns=columns, filters=mine)
    except (OSError, pa.ArrowException) as e:
        raise DatasetError(f"{path} cannot be read ({e}); `longreel verify` says what else is wrong") from e
