"""Options of the command `samples`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from pipeline.sources.samples.media import get_samples
from schemas.runs.messages import messages
from schemas.storage.option import Output


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Download sample videos and books from published packages. If they cannot be reached, generate synthetic ones."""

    out: Annotated[Path, Output.FOLDER, arg(help="Folder to write videos/, books/ and manifest.jsonl to.")]

    def __call__(self, options: tuple[str, ...]) -> None:
        """Write the samples."""
        manifest = get_samples(self.out)
        files = len(manifest.read_text(encoding="utf-8").splitlines())
        messages.info(f"samples: {files} files; {manifest} lists them with their licenses and splits")
