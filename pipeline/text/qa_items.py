"""Writes question-answer documents with the manifest that makes them items of `longreel run`.

    OUT/documents/NAME.qa.json    a document each
    OUT/manifest.jsonl            a row each, with the columns of its item; written last

A run with other documents replaces those of an earlier one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.text.qa import Turn
from schemas.files import write_text

DOCUMENTS, MANIFEST = "documents", "manifest.jsonl"


@dataclass(frozen=True)
class QaItem:
    """A document.

    Attributes:
        name: of its file, without the ending.
        turns: what it says.
        columns: of its row in the manifest, besides `uri` and `kind`.
    """

    name: str
    turns: Sequence[Turn]
    columns: Mapping[str, Any]


def write_qa_items(items: Iterable[QaItem], out: Path) -> int:
    """Write documents and manifest to `out`, remove documents that are not part of it, and return their number."""
    folder, rows = out / DOCUMENTS, []
    folder.mkdir(parents=True, exist_ok=True)
    for item in items:
        path = folder / f"{item.name}.qa.json"
        turns = [turn._asdict() for turn in item.turns]
        write_text(path, json.dumps({"turns": turns}, ensure_ascii=False, indent=1) + "\n")
        rows.append({"uri": str(path.resolve()), "kind": "qa", **item.columns})
    write_text(out / MANIFEST, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    made = {row["uri"] for row in rows}
    for path in folder.glob("*.qa.json"):
        if str(path.resolve()) not in made:
            path.unlink()
    return len(rows)
