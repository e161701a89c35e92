"""Whether other videos of the same scene are kept apart, measured on seeds that no threshold was chosen with.

Every video has the same title and end as the others of its scene, and is encoded in several ways. Each pair of videos
is compared in equal encodings, whose key frames are in step, and in different ones. Pairs that share no hash key would
never be compared by the search; they are compared here all the same.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from scipy.stats import beta

from near_duplicates_parts.clip_signatures import signature_of
from near_duplicates_parts.clips import sample_videos
from near_duplicates_parts.long_clips import LongClip, write_copy, write_original
from near_duplicates_parts.long_scenes import Scene, quiz, scenes, screen, with_cards
from pipeline.dedup.config import similarities
from pipeline.dedup.similarity import Signature
from pipeline.select.keep_best import KeepConfig

_REJECTED = KeepConfig().min_containment
_KINDS = ("", "size", "codec", "several")  # the original, and three copies with fixed distances of key frames


@dataclass(frozen=True)
class Length:
    """Videos of one length: how many per scene, their frame rate, and the length of title and end."""

    seconds: float
    videos: int
    rate: Fraction
    card_s: float
    first_seed: int = 100  # thresholds were chosen with lower ones


LENGTHS = (
    Length(20, 30, Fraction(25, 2), 1.5),
    Length(66, 30, Fraction(25, 2), 5, first_seed=200),
    Length(300, 12, Fraction(8), 5),
)
SMOKE = (Length(61, 2, Fraction(6), 3),)


def long_negatives(folder: Path, *, lengths: Sequence[Length] = LENGTHS) -> dict[str, Any]:
    """Generate videos in `folder`, compare all pairs of a scene, and print and return how many are found wrongly."""
    made = {"screen": screen} if lengths is SMOKE else scenes(sample_videos(folder)) | {"quiz": quiz}
    rows = []
    for length, (scene, pictures) in itertools.product(lengths, made.items()):
        videos = [_encoded(folder / "negatives", length, scene, pictures, n) for n in range(length.videos)]
        rows.append({"seconds": length.seconds, "scene": scene, **_compare(videos)})
        _show(rows[-1])
    return {"rows": rows, "all": [_total(rows, length.seconds) for length in lengths]}


def _encoded(folder: Path, length: Length, scene: str, pictures: Scene, number: int) -> list[tuple[str, Signature]]:
    """Return the names and signatures of the encodings of one video."""
    name = f"{scene}-{length.seconds:g}-{length.first_seed + number}"
    clip = LongClip(folder / name / f"{name}.mp4", scene, length.seconds / 60, name, 0.0, length.seconds, name)
    shown = with_cards(pictures, length.first_seed + number, length.seconds, length.rate, card_s=length.card_s)
    write_original(clip.path, shown, seconds=length.seconds, rate=length.rate)
    clips = [clip, *(write_copy(clip, kind, rate=length.rate) for kind in _KINDS[1:])]
    return [(clip.name, signature_of(clip.path, clip.name)) for clip in clips]


def _compare(videos: list[list[tuple[str, Signature]]]) -> dict[str, Any]:
    """Compare all pairs of videos in equal encodings, and in two different ones."""
    similarity, wrong, began = similarities()["video"], [], time.process_time()
    compared = 0
    for one, other in itertools.combinations(videos, 2):
        for (name, a), (other_name, b) in _encodings(one, other):
            found = similarity.compare(a, b)
            share = max(found.containment_a, found.containment_b) if found else 0.0
            compared += 1
            if share >= _REJECTED:
                wrong.append(f"{name} / {other_name}: {share:.2f}")
    videos_apart = len(videos) * (len(videos) - 1) // 2
    seconds = time.process_time() - began
    return {"pairs": videos_apart, "comparisons": compared, "wrong": wrong, "cpu_s": round(seconds, 1)}


def _encodings(one: list[Any], other: list[Any]) -> Iterator[tuple[Any, Any]]:
    yield from zip(one, other, strict=True)
    yield one[0], other[-1]
    yield one[1], other[2]


def _total(rows: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Return the sums over the scenes, and the lower end of the 95 % interval of the precision."""
    of_length = [row for row in rows if row["seconds"] == seconds]
    comparisons, wrong = (
        sum(map(count, of_length)) for count in (lambda r: r["comparisons"], lambda r: len(r["wrong"]))
    )
    total = {"seconds": seconds, "comparisons": comparisons, "wrong": wrong, "at_least": at_least(comparisons, wrong)}
    print(f"{seconds:g} s, all scenes: {wrong} of {comparisons} wrong, so at least {total['at_least']:.5f} are right")
    return total


def _show(row: dict[str, Any]) -> None:
    print(
        f"{row['seconds']:g} s, {row['scene']}: {len(row['wrong'])} of {row['comparisons']} wrong, {row['cpu_s']} s",
        flush=True,
    )
    for name in row["wrong"][:10]:
        print(f"    {name}", flush=True)


def at_least(compared: int, wrong: int) -> float:
    """Return the lower end of the one-sided 95 % interval of the share that is right (Clopper and Pearson, 1934)."""
    return float(beta.ppf(0.05, compared - wrong, wrong + 1)) if wrong < compared else 0.0
