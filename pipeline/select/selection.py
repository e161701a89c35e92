"""A finished selection in a workspace: the judged rows, and a marker file that completes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import NamedTuple

import pyarrow as pa

from pipeline.runtime.workspace import Workspace, drop_units, read_units
from pipeline.select.config import SelectConfig, config_from_json
from schemas.errors import DatasetError
from schemas.files import read_json, write_json
from schemas.records import SURVEY


class Selection(NamedTuple):
    """A finished selection: the fingerprint of its inputs, its options, and all judged rows."""

    fingerprint: str
    config: SelectConfig
    rows: pa.Table


def finish_selection(workspace: Workspace, config: SelectConfig, *, fingerprint: str, items: int) -> None:
    """Write the marker that completes a selection of `items` rows."""
    facts = {"fingerprint": fingerprint, "items": items, "config": asdict(config)}
    write_json(workspace.selection_marker, facts)


def begin_selection(workspace: Workspace) -> None:
    """Delete an earlier selection, its marker first: without a marker no reader uses what is left or new."""
    workspace.selection_marker.delete()
    drop_units(workspace.selection, ())


def read_selection(workspace: Workspace, columns: Sequence[str] | None = None) -> Selection:
    """Read a finished selection, all columns or the given ones.

    Raises DatasetError if it is not finished, or if a part of it is missing or damaged.
    """
    marker = workspace.selection_marker
    try:
        facts = read_json(marker)
        key, items, config = facts["fingerprint"], facts["items"], config_from_json(facts["config"])
    except FileNotFoundError as e:
        raise DatasetError(f"{workspace.selection} is not finished: run `longreel select` first") from e
    except (DatasetError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise DatasetError(f"{marker} cannot be read ({e}); run `longreel select` again") from e
    rows = read_units(workspace.selection, SURVEY, columns)
    if len(rows) != items:
        raise DatasetError(f"{workspace.selection} has {len(rows)} of {items} rows; run `longreel select` again")
    return Selection(key, config, rows)
