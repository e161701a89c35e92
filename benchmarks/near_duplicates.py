"""Measures whether the near-duplicate search finds changed copies and nothing else, and how it scales with the items.

    python benchmarks/near_duplicates.py [--smoke] [--parts videos long negatives growth] [--folder DIR] [--out FILE]

    videos    Real sample clips, whole and in parts of five seconds, and copies of them with one change each in three
              strengths (`near_duplicates_parts/clips.py`) are searched together. A copy counts as found if the search
              reports at least the containment in an original that rejects it (0.8). Precision is over all pairs that
              would reject an item; a pair is right if the two truly share that much (at least 0.6, because samples are
              half a second apart). Hard negatives are also compared pairwise, without the search: adjacent parts of a
              video, other takes of a scene, videos that start with the same three seconds. Clips of words on a plain
              background have no hash keys; they are counted and excluded.
    long      Videos of 1 to 120 minutes (interviews, lectures, screen recordings, sport, films; generated, in part from
              the sample clips) and copies of them with other key frames, frame rate, codec, size and start, flipped
              copies, and long parts are searched together. Recall by length and kind; precision as above. Hard
              negatives are other videos with the same studio, desktop, pitch or source material, title and end.
    negatives Videos of 20, 66 and 300 seconds of the same scenes and of a quiz, in four encodings, on seeds that no
              threshold was chosen with: how many pairs are found wrongly, with the interval of the precision.
    growth    Generated signatures of 8 samples, of which 1 % are changed copies of others, through the whole job on
              Beam's local runner with one worker, in one process per size: time, peak memory, share of copies found.

Clips are generated the first time in `--folder`, in about half an hour, and reused. `--smoke` generates its own.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from support.textures import write_texture_video


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure the near-duplicate search."""

    parts: tuple[Literal["videos", "long", "negatives", "growth"], ...] = ("videos", "long", "negatives", "growth")
    smoke: bool = False  # a few generated clips and signatures, in less than a minute
    folder: Path = Path(tempfile.gettempdir()) / "longreel-near-duplicates"  # of the clips and workspaces
    minutes: float = 120  # the longest of the long videos
    growth: int = 1_000_000  # the largest number of items, from 10^4 in factors of ten
    out: Path | None = None  # write the figures to this JSON file


def measure(part: str, options: Options) -> Any:
    """Run one part."""
    match part:
        case "videos":
            from near_duplicates_parts.videos import videos

            return videos(options.folder / "full")
        case "long":
            from near_duplicates_parts.long_videos import long_videos

            return long_videos(options.folder / "full", minutes=options.minutes)
        case "negatives":
            from near_duplicates_parts.long_negatives import long_negatives

            return long_negatives(options.folder / "full")
        case "growth":
            from near_duplicates_parts.growth import growth, sizes_to

            return growth(sizes_to(options.growth), options.folder)


def measure_smoke(part: str, folder: Path) -> Any:
    """Run one part on a small generated input."""
    match part:
        case "videos":
            from near_duplicates_parts.videos import videos

            for seed in range(3):
                write_texture_video(folder / "samples" / f"{'abc'[seed]}.mp4", frames=80, size=(160, 96), seed=seed)
            return videos(folder, sources=folder / "samples", strengths=("middle",))
        case "long":
            from near_duplicates_parts.long_videos import SMOKE, long_videos

            return long_videos(folder, lengths=SMOKE)
        case "negatives":
            from near_duplicates_parts.long_negatives import SMOKE, long_negatives

            return long_negatives(folder, lengths=SMOKE)
        case "growth":
            from near_duplicates_parts.growth import growth

            return growth([640], folder)


def main(options: Options) -> None:
    if options.smoke:
        with tempfile.TemporaryDirectory() as folder:
            figures = {part: measure_smoke(part, Path(folder)) for part in options.parts}
    else:
        figures = {part: measure(part, options) for part in options.parts}
    if options.out:
        options.out.write_text(json.dumps({"cores": os.cpu_count(), **figures}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options))
