"""Converts a row of a table of texts to a ManifestItem.

Such tables come from elsewhere (Hugging Face datasets, dumps), and their columns mean what their authors chose. A
column with the name of a manifest's column is used if its value fits, otherwise it is stored in the metadata with all
other columns: a number as `title`, a struct as `source`. Only `split` and `kind` must be understood, because a wrong
guess would train on held-out text or treat a text as something else.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from pipeline.kinds.registry import kinds
from pipeline.sources.manifest_rows import parse_split
from pipeline.sources.table_row import JsonRow
from pipeline.sources.text_tables import TEXT
from schemas.errors import InputError, Reason
from schemas.json_values import load_json
from schemas.rows import ManifestItem

_TEXT_COLUMNS = ("title", "source", "license")
_JUDGED = ("split", "uri", TEXT)


def parse_text_row(values: JsonRow, address: str) -> ManifestItem:
    """Return the book of a row; `address` becomes its URI. Raises InputError INVALID_ROW."""
    if "uri" in values:
        raise InputError(Reason.INVALID_ROW, "got a 'uri' in a table of texts; list files in another manifest")
    kind = values.get("kind")
    if kind != "book" and isinstance(kind, str) and kind in kinds():
        raise InputError(Reason.INVALID_ROW, f"column 'kind': got {kind!r}, expected 'book' for a row with a text")
    known = {name: values[name] for name in _TEXT_COLUMNS if _is_storable(values.get(name))}
    used = {*known, *_JUDGED, *(("kind",) if kind in ("book", None) else ())}
    others = {name: value for name, value in values.items() if name not in used}
    return ManifestItem(
        uri=address,
        kind="book",
        title=known.get("title"),
        source=known.get("source"),
        license=known.get("license"),
        split=parse_split(values),
        metadata=_metadata(others),
    )


def _is_storable(value: Any) -> bool:
    """Whether a value is a non-empty string that can be stored as UTF-8."""
    if not isinstance(value, str) or not value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def _metadata(others: Mapping[str, Any]) -> str | None:
    columns = {name: value for name, value in others.items() if name not in _TEXT_COLUMNS or value not in (None, "")}
    given = columns.pop("metadata", None)
    try:
        if isinstance(given, str):
            given = _parsed(given)
        if isinstance(given, Mapping):
            columns = {**given, **columns}
        elif given is not None:
            columns["metadata"] = given
        return json.dumps(_plain(columns), sort_keys=True) if columns else None
    except RecursionError as e:
        raise InputError(Reason.INVALID_ROW, "the columns are nested too deep for metadata") from e


def _parsed(text: str) -> Any:
    try:
        return load_json(text)
    except ValueError:
        return text


def _plain(value: Any) -> Any:
    """Return a value as JSON: bytes are replaced by their number, and infinite numbers, which JSON lacks, by null."""
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else _shown(value)


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, Decimal | datetime.timedelta) else repr(value)
