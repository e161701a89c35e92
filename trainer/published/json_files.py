"""Writes JSON files for other programs, which have no field for a checksum."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.files import write_text


def write_plain_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write an object as JSON, atomically."""
    write_text(path, json.dumps(values, indent=2) + "\n")
