"""Options that all stages share: where the workspace is, and how many threads work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from pipeline.runtime.beam import Runner

Inputs = Annotated[Positional[tuple[str, ...]], arg(metavar="INPUT ...")]
FLAT = arg(name="")  # the options of a nested configuration without its name before them


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a job works, and with how many hands."""

    out: Path
    """The workspace: a new folder, or one that an earlier run made."""
    workers: int = 1
    """Local worker threads. Decoding and encoding overlap with one already. For another runner than the local one,
    give Beam's own options after `--`."""

    def runner(self, options: tuple[str, ...]) -> Runner:
        """Return where Beam runs."""
        return Runner(self.workers, options)
