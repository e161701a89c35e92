"""Checkpoints that Longreel wrote before 2026-11-28: their parameters are read as they are.

They have no checksums to compare, names of arrays without the word `value` (`schemas/runs/naming.py`), and a model
without the name of its family. Their optimizer and place in the data are not read.
"""

from __future__ import annotations

import json
from pathlib import Path

from schemas.runs.checksums import CHECKSUMS
from schemas.storage.location import located


def is_of_earlier_version(checkpoint: Path) -> bool:
    """Return whether the description of a checkpoint without checksums is older than them.

    A newer one whose checksums were deleted is damaged.
    """
    if (checkpoint / CHECKSUMS).exists():
        return False
    try:
        described = json.loads(located(checkpoint / "description" / "metadata").read())
    except (OSError, ValueError):
        return False
    return "model" in described and "optimizer" not in described
