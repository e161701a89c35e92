"""Options that all jobs share: where the workspace is, and how many threads work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from pipeline.runtime.beam import Runner
from schemas.storage.option import Address

Inputs = Annotated[Positional[tuple[str, ...]], arg(metavar="INPUT ...")]
FLAT = arg(name="")  # the options of a nested configuration without its name before them


@dataclass(frozen=True, kw_only=True)
class Place:
    """The workspace, and how the jobs run."""

    out: Address
    """The workspace: a new folder, or one that an earlier command made; also in a bucket, as s3://BUCKET/FOLDER or
    gs://BUCKET/FOLDER."""
    workers: int = 1
    """Local worker threads. Decoding and encoding overlap even with one. To use another Beam runner, give its options
    after `--`."""
    reconfigure: bool = False
    """Apply options that differ from the configuration of the workspace. Without it such a command is refused, with a
    list of the differences and of the results that they invalidate."""

    def runner(self, options: tuple[str, ...]) -> Runner:
        """Return the Beam runner."""
        return Runner(self.workers, options)
