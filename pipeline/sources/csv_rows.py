"""The rows of a .csv file: comma-separated, with a header; in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

An empty field is null, and `captions` may be a JSON list of strings. A row with another number of fields than the
header, or with a quotation mark that is not closed, is a row with an error: its first line is left out, and reading
continues with the next line, so that one missing quotation mark costs one row and not the rest of the file.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from pipeline.sources.table_row import TableRow
from pipeline.text.encoding import byte_order_mark
from schemas.counted import counted
from schemas.errors import InputError, ManifestError, Reason

_MAX_CHARS = 4 << 20  # of a record, which is in memory; a field has at most 131,072
_BLOCK_CHARS = 1 << 20


def csv_rows(path: Path) -> Iterator[TableRow]:
    """Yield the rows of a file; blank lines are skipped. Bytes that are not UTF-8 become unpaired surrogates.

    Raises ManifestError if the file has no header, a column twice, or cannot be read.
    """
    try:
        with path.open("rb") as stream:
            mark, encoding = byte_order_mark(stream.read(4))
            stream.seek(len(mark))
            errors = "surrogateescape" if encoding == "utf-8" else "strict"
            with io.TextIOWrapper(stream, encoding, errors, newline="") as text:
                yield from _rows(path, text)
    except (OSError, UnicodeDecodeError) as e:
        raise ManifestError(f"{path} is not a readable CSV file: {e}") from e


def _rows(path: Path, text: TextIO) -> Iterator[TableRow]:
    lines = _Lines(text)
    header, error = lines.record()
    if error or not header:
        raise ManifestError(f"{path} is not a readable CSV file: {error or 'it has no header'}")
    if repeated := [name for name, n in Counter(header).items() if n > 1]:
        raise ManifestError(f"{path}: the column {repeated[0]!r} occurs twice in the header")
    number = 0
    while (found := lines.record(fields=len(header))) != ([], None):
        fields, error = found
        number += 1
        row = {} if error else dict(zip(header, fields, strict=True))
        yield _typed(row, number) if not error else TableRow(number - 1, number, {}, _invalid(error))


class _Lines:
    """The lines of a file, which can be read again from the second line of a record that turned out to be invalid."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._read: list[str] = []  # lines of the current record
        self._chars = 0  # of these
        self._waiting: deque[str] = deque()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._waiting.popleft() if self._waiting else self._next_line()
        if len(line) <= _MAX_CHARS and not line.endswith("\n"):
            line = line.rstrip("\0")  # padding after the last line of a file that was copied in blocks
        if not line:
            raise StopIteration
        self._read.append(line)
        self._chars += len(line)
        if self._chars > _MAX_CHARS:
            raise csv.Error(f"the row has more than {_MAX_CHARS:,} characters")
        return line

    def _next_line(self) -> str:
        """Return the next line of the file; of a line that is too long only its start."""
        line = rest = self._text.readline(_MAX_CHARS + 1)
        while len(line) > _MAX_CHARS and rest and not rest.endswith(("\n", "\r")):
            rest = self._text.readline(_BLOCK_CHARS)
        return line

    def record(self, *, fields: int | None = None) -> tuple[list[str], str | None]:
        """Return the fields of the next record, or an error: of a record without this number of fields as well.

        At the end of the file there are no fields and no error.
        """
        found: list[str] = []
        error = None
        while not found and error is None:
            self._read.clear()
            self._chars = 0
            try:
                found = next(csv.reader(self, strict=True), [])
            except csv.Error as e:
                error = str(e)
            if not self._read:
                return [], None
        if error is None and fields is not None and len(found) != fields:
            error = (
                f"the row has {counted(len(found), 'field')}, the header has {fields}: {found[-1][:80]!r} is the last"
            )
        if error is not None:
            self._waiting.extendleft(reversed(self._read[1:]))
        return found, error


def _typed(row: dict[str, str], number: int) -> TableRow:
    values: dict[str, Any] = {name: field or None for name, field in row.items()}
    if (values.get("captions") or "").startswith('["'):  # but "[music]" is a caption
        try:
            values["captions"] = json.loads(values["captions"])
        except (ValueError, RecursionError) as e:
            return TableRow(number - 1, number, values, _invalid(f"column 'captions' is not a JSON list: {e}"))
    return TableRow(number - 1, number, values)


def _invalid(message: str) -> InputError:
    return InputError(Reason.INVALID_ROW, message)
