"""Writes question-answer documents with the manifest that makes them items of `longreel run`.

    OUT/documents/NAME.qa.json    a document each
    OUT/manifest.jsonl            a row each, with the columns of its item; written last

A run with other documents replaces those that the manifest of an earlier one lists; other files stay.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.text.qa import Turn
from schemas.errors import ConfigError, storage_errors
from schemas.files import write_text
from schemas.printable import printable
from schemas.storage.regular import open_regular

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
    """Write documents and manifest to `out`, remove those of the earlier manifest, and return how many there are."""
    _require_utf8(out)
    folder, rows, earlier = out / DOCUMENTS, [], _listed(out / MANIFEST)
    with storage_errors(out):
        (out / MANIFEST).unlink(missing_ok=True)  # it would list documents that are replaced under the same names
    for item in items:
        path = folder / f"{item.name}.qa.json"
        turns = [turn._asdict() for turn in item.turns]
        write_text(path, json.dumps({"turns": turns}, ensure_ascii=False, indent=1) + "\n")
        rows.append({"uri": str(path.resolve()), "kind": "qa", **item.columns})
    write_text(out / MANIFEST, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    with storage_errors(folder):
        for name in earlier - {Path(row["uri"]).name for row in rows}:
            (folder / name).unlink(missing_ok=True)
    return len(rows)


def _require_utf8(out: Path) -> None:
    """Raise ConfigError for a folder whose documents no manifest can name."""
    try:
        str(out.resolve()).encode()
    except UnicodeEncodeError as e:
        name = printable(str(out))
        raise ConfigError(
            f"{name} is not valid UTF-8, which the manifest of its documents must be; choose another --out"
        ) from e


def _listed(manifest: Path) -> set[str]:
    """Return the names of the documents that a manifest of this module lists; of another file, none."""
    try:
        with open_regular(manifest) as lines:
            names = {Path(json.loads(line)["uri"]).name for line in lines}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()
    return {name for name in names if name.endswith(".qa.json")}
