"""Checks one row of a manifest and converts it to a ManifestItem."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.kinds.registry import kind_of_file, kinds
from schemas.errors import ManifestError
from schemas.records import MANIFEST, SPLITS
from schemas.rows import EMBEDDED, ManifestItem

TRANSCRIPTS = (".srt", ".vtt")
_COLUMNS = tuple(MANIFEST.names)


def parse_item(values: Mapping[str, Any], *, source: str, base: Path) -> ManifestItem:
    """Return the item of a row, given as JSON values by column.

    Relative paths are relative to `base`. `source` describes the position of the row in error messages. Raises
    ManifestError, which contains the source, the column, the value and the expected value.
    """
    row = _Row(values, source)
    row.require_known_columns()
    uri = row.text("uri", required="a path or a URI")
    return ManifestItem(
        uri=absolute(uri, base),
        kind=row.kind(uri),
        captions=row.captions(),
        transcript=row.transcript(base),
        title=row.text("title") or None,
        source=row.text("source") or None,
        license=row.text("license") or None,
        split=row.split(),
        metadata=row.metadata(),
    )


def absolute(uri: str, base: Path) -> str:
    """Return a URI unchanged, and a path as an absolute path relative to `base`. Links are not resolved."""
    return uri if "://" in uri else os.path.abspath(base / uri)  # noqa: PTH100 - keeps symlinks


class _Row:
    """A row whose columns are checked one by one."""

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        self._values, self._source = values, source

    def require_known_columns(self) -> None:
        for name in self._values:
            if name not in _COLUMNS:
                similar = difflib.get_close_matches(str(name), _COLUMNS, n=1)
                hint = f"did you mean {similar[0]!r}?" if similar else f"the columns are {', '.join(_COLUMNS)}."
                raise ManifestError(
                    f"{self._source}: unknown column {name!r}; {hint} Put custom fields into 'metadata'."
                )

    def text(self, name: str, *, required: str | None = None) -> str:
        """Return a string, "" for a missing one unless `required` describes what must be given."""
        value = self._values.get(name)
        if required and not value:
            raise self._error(name, required)
        if not isinstance(value, str | None):
            raise self._error(name, required or "a string")
        return self._encodable(name, value or "")

    def kind(self, uri: str) -> str:
        by_extension = kind_of_file(uri)
        kind = self._values.get("kind") or (by_extension.name if by_extension else None)
        if not isinstance(kind, str) or kind not in kinds():
            raise self._error("kind", f"one of {', '.join(kinds())}")
        return kind

    def captions(self) -> tuple[str, ...]:
        captions = self._values.get("captions")
        if captions is None:
            return ()
        if isinstance(captions, str):
            captions = [captions]
        if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
            raise self._error("captions", "a string or a list of strings")
        return tuple(self._encodable("captions", caption) for caption in captions if caption.strip())

    def transcript(self, base: Path) -> str | None:
        transcript = self.text("transcript")
        if not transcript or transcript == EMBEDDED:
            return transcript or None
        if Path(transcript).suffix.lower() not in TRANSCRIPTS:
            raise self._error("transcript", f"{EMBEDDED!r} or a file with the extension {' or '.join(TRANSCRIPTS)}")
        return absolute(transcript, base)

    def split(self) -> str | None:
        split = self._values.get("split")
        if split not in (None, *SPLITS):
            raise self._error("split", f"one of {', '.join(SPLITS)}, or null")
        return None if split is None else str(split)

    def metadata(self) -> str | None:
        """Return the metadata as JSON; a string is taken as JSON already."""
        metadata = self._values.get("metadata")
        if metadata is not None and not isinstance(metadata, str):
            try:
                metadata = json.dumps(metadata, sort_keys=True)
            except (TypeError, ValueError) as e:
                raise self._error("metadata", "a string or a JSON value") from e
        return None if metadata is None else self._encodable("metadata", metadata)

    def _encodable(self, name: str, text: str) -> str:
        try:
            text.encode()
        except UnicodeEncodeError as e:  # a lone surrogate
            raise self._error(name, "text that can be encoded as UTF-8") from e
        return text

    def _error(self, name: str, expected: str) -> ManifestError:
        return ManifestError(f"{self._source}, column {name!r}: got {self._values.get(name)!r}, expected {expected}")
