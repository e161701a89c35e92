"""The rows of a .jsonl file: one JSON object per line, in UTF-8. A line that is not one is a row with an error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pipeline.sources.table_row import JsonRow, TableRow
from schemas.errors import InputError, ManifestError, Reason
from schemas.json_values import load_json

_MAX_LINE_BYTES = 192 << 20  # a text of the default limit of a book, of which JSON writes two bytes in six
_BLOCK_BYTES = 1 << 20
_SHOWN_BYTES = 80
_PADDING = b"\0"  # after the last line of a file that was copied in blocks


def jsonl_rows(path: Path, *, max_line_bytes: int = _MAX_LINE_BYTES) -> Iterator[TableRow]:
    """Yield the rows of a file; blank lines are skipped. One line is in memory at a time.

    Raises ManifestError if the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            start = 0
            for number, (line, size) in enumerate(_lines(stream, max_line_bytes), start=1):
                if size > max_line_bytes:
                    yield TableRow(start, number, {}, _too_long(size, max_line_bytes))
                elif line := (line if line.endswith(b"\n") else line.rstrip(_PADDING)).strip():
                    yield _parsed(line, start, number)
                start += size
    except OSError as e:
        raise ManifestError(f"{path} cannot be read: {e.strerror or e}") from e


def _lines(stream: BinaryIO, max_line_bytes: int) -> Iterator[tuple[bytes, int]]:
    """Yield each line and its size; of a longer line only its start."""
    while line := stream.readline(max_line_bytes + 1):
        size, rest = len(line), line
        while not rest.endswith(b"\n") and (rest := stream.readline(_BLOCK_BYTES)):
            size += len(rest)
        yield line, size


def _parsed(line: bytes, start: int, number: int) -> TableRow:
    shown = f"got {line[:_SHOWN_BYTES]!r}"
    try:
        values: JsonRow = load_json(line.decode("utf-8-sig"))
    except UnicodeDecodeError as e:
        message = f"byte {start + e.start:,} of the file is not valid UTF-8; {shown}"
        return TableRow(start, number, {}, InputError(Reason.INVALID_ROW, message))
    except InputError as e:
        return TableRow(start, number, {}, e)
    except (ValueError, RecursionError) as e:
        return TableRow(start, number, {}, InputError(Reason.INVALID_ROW, f"invalid JSON ({e}); {shown}"))
    if not isinstance(values, dict):
        return TableRow(start, number, {}, InputError(Reason.INVALID_ROW, f"expected a JSON object, {shown}"))
    return TableRow(start, number, values)


def _too_long(size: int, limit: int) -> InputError:
    return InputError(Reason.TOO_LARGE, f"the line has {size:,} bytes, the limit is {limit:,}")
