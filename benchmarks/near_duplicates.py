"""Claims: changed copies are found, other videos are not, and the search grows with the number of items.

    python benchmarks/near_duplicates.py [--quick] [--parts videos growth] [--folder DIR] [--out near.json]

    videos    Real sample clips, whole and in parts of five seconds, and copies of them that are changed in one way, in
              three strengths (`near_duplicates_parts/clips.py`), go through the search together. A copy counts as found
              where an original is said to have at least the share of it that sets it aside (0.8). Precision is over all
              pairs that would set an item aside: right where the two truly share that much (0.6 at least, as samples
              are half a second apart). Hard negatives are besides compared all with all: the next parts of a video,
              other takes of a scene, videos that begin with the same three seconds.
    growth    Made-up signatures of 8 samples, of which 1 % are changed copies of others, through the whole job on
              Beam's local runner with one worker, a process each: time, peak memory, and how many copies are found.

Clips are made the first time, in `--folder`, and kept there: about ten minutes.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure the search for near-duplicates."""

    parts: tuple[Literal["videos", "growth"], ...] = ("videos", "growth")
    quick: bool = False  # all of it small: below a minute
    folder: Path = Path(tempfile.gettempdir()) / "longreel-near-duplicates"  # where clips and stores are kept
    growth: int = 1_000_000  # the most items, from 10^4 in steps of ten
    out: Path | None = None  # where the figures go as JSON


def measure(part: str, options: Options) -> Any:
    """Run one part."""
    match part:
        case "videos":
            from near_duplicates_parts.videos import videos

            return videos(options.folder / ("quick" if options.quick else "full"), quick=options.quick)
        case "growth":
            from near_duplicates_parts.growth import growth

            return growth(min(options.growth, 10_000) if options.quick else options.growth, options.folder)


def main(options: Options) -> None:
    figures = {part: measure(part, options) for part in options.parts}
    if options.out:
        options.out.write_text(json.dumps({"cores": os.cpu_count(), **figures}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options))
