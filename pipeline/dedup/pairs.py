"""The table of pairs that share content, which `dedup` writes and `select` reads."""

from __future__ import annotations

from typing import Any

from pipeline.runtime.units import read_rows
from pipeline.runtime.workspace import Workspace
from schemas.records import PAIRS


def read_pairs(workspace: Workspace) -> list[dict[str, Any]]:
    """Return the pairs that `dedup` found; empty if it has not run."""
    return read_rows(workspace.pairs, PAIRS).to_pylist() if workspace.pairs.exists() else []
