"""One row of a table that a user wrote, before it is checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from schemas.errors import InputError

JsonRow = Mapping[str, Any]
"""A row as the user wrote it: JSON values by column, not yet checked."""


class TableRow(NamedTuple):
    """The position of a row, and its values or the error that keeps it from being read."""

    position: int  # the byte at which its line starts in a .jsonl file, otherwise its number from 0
    number: int  # of its line in a .jsonl file, otherwise of the row; from 1
    values: JsonRow
    error: InputError | None = None
