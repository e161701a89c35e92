"""Checks one row of a manifest and converts it to a ManifestItem."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.kinds.registry import kind_of_file, kinds
from pipeline.sources.addresses import BAD_NAME, address_in, is_bad_name, is_storable
from pipeline.sources.credentials import REMEDY, credentials_in, without_credentials
from pipeline.sources.sidecars import TRANSCRIPTS, language_of
from pipeline.sources.table_row import JsonRow
from schemas.errors import InputError, Reason
from schemas.printable import printable
from schemas.records import SPLITS, USER_COLUMNS
from schemas.rows import EMBEDDED, ManifestItem
from schemas.storage.location import Location

UNKNOWN_KIND = "unknown"  # of a rejected row that does not tell its kind
_VALIDATION = "validation"  # the name of the split "val" in Hugging Face datasets
_SLICE = re.compile(r"(\w+)\[[\d:%-]*\]")  # such as train[:10%]
_MAX_ADDRESS_CHARS = 1 << 15  # no server and no file system takes a longer one
_MAX_CHARS = 1 << 24  # of a caption, title or other value
_SHOWN_CHARS = 200


def parse_item(values: JsonRow, *, base: Path | Location) -> ManifestItem:
    """Return the item of a row, given as JSON values by column.

    Relative paths are relative to `base`. Raises InputError INVALID_ROW with the column, the value and the expected
    value.
    """
    require_known_columns(values)
    row = _Row(values)
    uri = row.address("uri", base, required="a path or a URI")
    item = ManifestItem(
        uri=uri,
        kind=row.kind(uri),
        captions=row.captions(),
        caption_file=row.caption_file(base),
        transcript=row.transcript(base),
        transcript_language=row.language(),
        title=row.text("title") or None,
        source=row.text("source") or None,
        license=row.text("license") or None,
        split=parse_split(values),
        metadata=row.metadata(),
    )
    if bad := next(filter(is_bad_name, (item.uri, item.caption_file, item.sidecar)), None):
        return replace(item, reason=Reason.BAD_NAME.value, detail=f"{bad}: {BAD_NAME}")
    return item


def rejected_item(
    values: JsonRow, error: InputError, *, base: Path | Location, address: str, is_text: bool
) -> ManifestItem:
    """Return the item of an invalid row, with the error as its reason.

    Its URI is the one that the row gives, if it gives one and the row `is_text` does not apply, otherwise `address`.
    """
    uri, kind = address, "book" if is_text else UNKNOWN_KIND
    if not is_text:
        row = _Row(values)
        try:
            uri = row.address("uri", base, required="a path or a URI")
            kind = row.kind(uri)
        except InputError:  # the columns that tell them are those that are invalid
            pass
    return ManifestItem(uri=uri, kind=kind, reason=error.reason.value, detail=printable(str(error)))


def require_known_columns(names: Iterable[str]) -> None:
    """Raise InputError INVALID_ROW for a name that is not that of a column, with the nearest one."""
    for name in names:
        if name not in USER_COLUMNS:
            similar = difflib.get_close_matches(str(name), USER_COLUMNS, n=1)
            hint = f"did you mean {similar[0]!r}?" if similar else f"the columns are {', '.join(USER_COLUMNS)}."
            raise InputError(Reason.INVALID_ROW, f"unknown column {name!r}; {hint} Put custom fields into 'metadata'.")


def parse_split(values: JsonRow) -> str | None:
    """Return the split of a row. `validation` is `val`, and a slice such as `train[:10%]` is of its split.

    Raises InputError INVALID_ROW for any other value: an item of an unknown split could be held-out data.
    """
    split = values.get("split")
    if split is None or split == "":
        return None
    if isinstance(split, str):
        name = match[1] if (match := _SLICE.fullmatch(split)) else split
        name = "val" if name == _VALIDATION else name
        if name in SPLITS:
            return name
    raise _error("split", split, f"one of {', '.join(SPLITS)}, {_VALIDATION}, or null")


class _Row:
    """A row whose columns are checked one by one."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def text(self, name: str, *, required: str | None = None) -> str:
        """Return a string, "" for a missing one unless `required` describes what must be given."""
        value = self._values.get(name)
        if required and not value:
            raise self._error(name, required)
        if not isinstance(value, str | None):
            raise self._error(name, required or "a string")
        return self._storable(name, value or "")

    def path(self, name: str, *, required: str | None = None) -> str:
        """Return a path or URL; of a path, bytes that are not UTF-8 are unpaired surrogates."""
        value = self._values.get(name)
        if isinstance(value, str) and len(value) > _MAX_ADDRESS_CHARS:
            raise self._error(name, f"at most {_MAX_ADDRESS_CHARS:,} characters")
        if isinstance(value, str) and "://" not in value and "\0" not in value and not is_storable(value):
            with suppress(UnicodeEncodeError):
                os.fsencode(value)
                return value
        return self.text(name, required=required)

    def address(self, name: str, base: Path | Location, *, required: str | None = None) -> str:
        """Return a URL unchanged, and the address of a path, relative to `base`; "" for a missing one.

        Raises InputError NOT_ALLOWED for a URL with credentials.
        """
        value = self.path(name, required=required)
        if found := credentials_in(value):
            shown = without_credentials(value)[:_SHOWN_CHARS]
            raise InputError(Reason.NOT_ALLOWED, f"column {name!r}: {shown} contains {found}; {REMEDY}")
        if "://" in value or not value:
            return value
        try:
            return address_in(base, value)
        except ValueError as e:
            raise self._error(name, "a path inside the bucket of the manifest") from e

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
        return tuple(self._storable("captions", caption) for caption in captions if caption.strip())

    def caption_file(self, base: Path | Location) -> str | None:
        return self.address("caption_file", base) or None

    def transcript(self, base: Path | Location) -> str | None:
        transcript = self.path("transcript")
        if not transcript or transcript == EMBEDDED:
            return transcript or None
        path = urlsplit(transcript).path if "://" in transcript else transcript  # a URL can have a query
        if Path(path).suffix.lower() not in TRANSCRIPTS:
            raise self._error("transcript", f"{EMBEDDED!r} or a file with an extension of {', '.join(TRANSCRIPTS)}")
        return self.address("transcript", base)

    def language(self) -> str | None:
        tag = self.text("transcript_language")
        if tag and not language_of(tag):
            raise self._error("transcript_language", "a language tag such as en, eng or pt-BR")
        return language_of(tag) if tag else None

    def metadata(self) -> str | None:
        """Return the metadata as JSON; a string is taken as JSON already."""
        metadata = self._values.get("metadata")
        if metadata is not None and not isinstance(metadata, str):
            try:
                metadata = json.dumps(metadata, sort_keys=True)
            except (TypeError, ValueError, RecursionError) as e:
                raise self._error("metadata", "a string or a JSON value") from e
        return None if metadata is None else self._storable("metadata", metadata)

    def _storable(self, name: str, text: str) -> str:
        if len(text) > _MAX_CHARS:
            raise self._error(name, f"at most {_MAX_CHARS:,} characters")
        try:
            text.encode()
        except UnicodeEncodeError as e:  # an unpaired surrogate, or bytes of a CSV file that are not UTF-8
            raise self._error(name, "text that is valid UTF-8") from e
        if "\0" in text:
            raise self._error(name, "text without a NUL")
        return text

    def _error(self, name: str, expected: str) -> InputError:
        return _error(name, self._values.get(name), expected)


def _error(name: str, value: Any, expected: str) -> InputError:
    shown = repr(value[:_SHOWN_CHARS] if isinstance(value, str) else value)
    if len(shown) > _SHOWN_CHARS:
        shown = f"{shown[:_SHOWN_CHARS]}..."
    return InputError(Reason.INVALID_ROW, f"column {name!r}: got {shown}, expected {expected}")
