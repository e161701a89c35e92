"""Whether copies of long videos are found, by length and kind, and whether videos that look alike are kept apart."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from near_duplicates_parts.clip_signatures import signature_of
from near_duplicates_parts.clips import sample_videos
from near_duplicates_parts.long_clips import ENCODINGS, WHOLE, LongClip, write_copy, write_original
from near_duplicates_parts.long_scenes import Scene, scenes, screen, sport, with_cards
from near_duplicates_parts.videos import search
from pipeline.dedup.config import similarities
from pipeline.dedup.pairs import Pair
from pipeline.dedup.similarity import Signature
from pipeline.select.keep_best import KeepConfig

_REJECTED = KeepConfig().min_containment
_TRUE = 0.6  # a containment reported as at least `_REJECTED` is right if the true one is at least this
_CARD_S = 5.0  # title and end of every video of a scene
_FEW = ("key frames", "frame rate", "several", "sub-clip", "flipped")


@dataclass(frozen=True)
class Length:
    """Videos of one length: how many, of how many there are copies, and of which kinds."""

    minutes: float
    videos: int
    copied: int
    kinds: tuple[str, ...] = tuple(ENCODINGS)
    rate: Fraction = Fraction(25, 2)


LENGTHS = (
    Length(1.1, 6, 4),
    Length(5, 4, 2),
    Length(20, 3, 1, rate=Fraction(8)),
    Length(60, 2, 1, _FEW, Fraction(8)),
    Length(120, 2, 1, _FEW[:3], Fraction(8)),
)
SMOKE = (Length(1.1, 2, 1, ("frame rate", "flipped"), Fraction(6)),)  # scenes without sample material only


@dataclass(frozen=True)
class Item:
    """A clip and its signature."""

    clip: LongClip
    signature: Signature


def long_videos(folder: Path, *, lengths: Sequence[Length] = LENGTHS, minutes: float = 120) -> dict[str, Any]:
    """Generate videos and copies in `folder`, search them, compare with the truth, and print and return the figures."""
    made = {"screen": screen, "sport": sport} if lengths is SMOKE else scenes(sample_videos(folder))
    chosen = [length for length in lengths if length.minutes <= minutes]
    clips = [clip for length in chosen for clip in _clips(folder / "long", length, made)]
    items = [Item(clip, signature_of(clip.path, clip.name)) for clip in clips]
    began = time.process_time()
    found, facts = search([item.signature for item in items])
    seconds = time.process_time() - began
    rows, judged = list(_recall(items, found)), _precision(items, found)
    negatives = _negatives(items)
    _show(rows, judged, negatives, facts, seconds)
    return {"clips": len(items), "search": facts, "recall": rows, "precision": judged, "hard negatives": negatives}


def _clips(folder: Path, length: Length, made: dict[str, Scene]) -> Iterator[LongClip]:
    for (scene, pictures), seed in itertools.product(made.items(), range(length.videos)):
        name = f"{scene}-{length.minutes:g}-{seed}"
        seconds = 60 * length.minutes
        course = f"{scene} {seed}, {length.rate} frames per second"
        clip = LongClip(folder / name / f"{name}.mp4", scene, length.minutes, name, 0.0, seconds, course)
        shown = with_cards(pictures, seed, seconds, length.rate, card_s=_CARD_S)
        write_original(clip.path, shown, seconds=seconds, rate=length.rate)
        yield clip
        for kind in length.kinds if seed < length.copied else ():
            yield write_copy(clip, kind, rate=length.rate)


def _recall(items: Sequence[Item], found: dict[tuple[str, str], Pair]) -> Iterator[dict[str, Any]]:
    """Yield by length, kind and scene how many copies were found to be contained in their original."""
    originals = {item.clip.source: item for item in items if not item.clip.kind}
    for item in items:
        if item.clip.kind:
            pair = _pair(item, originals[item.clip.source], found)
            share = pair.containment_of(item.signature.content_id) if pair else 0.0
            yield {
                "minutes": item.clip.minutes,
                "kind": item.clip.kind,
                "scene": item.clip.scene,
                "name": item.clip.name,
                "containment": share,
                "found": share >= _REJECTED,
            }


def _pair(one: Item, other: Item, found: dict[tuple[str, str], Pair]) -> Pair | None:
    a, b = sorted((one.signature.content_id, other.signature.content_id))
    return found.get((a, b))


def _shared_s(one: LongClip, other: LongClip) -> float:
    if one.source == other.source:
        return max(0.0, min(one.end_s, other.end_s) - max(one.start_s, other.start_s))
    if one.course == other.course:  # the longer video begins as the shorter one, which has its last card earlier
        until = 60 * min(one.minutes, other.minutes)
        return max(0.0, min(one.end_s, other.end_s, until) - max(one.start_s, other.start_s))
    return 2 * _CARD_S if one.scene == other.scene else 0.0


def _precision(items: Sequence[Item], found: dict[tuple[str, str], Pair]) -> dict[str, Any]:
    """Return how many pairs that would reject an item are right."""
    by_id = {item.signature.content_id: item for item in items}
    right, wrong = 0, []
    for pair in found.values():
        both = by_id[pair.a].clip, by_id[pair.b].clip
        claims = [
            (claimed, _shared_s(*both) / (clip.end_s - clip.start_s))
            for clip, claimed in zip(both, (pair.containment_a, pair.containment_b), strict=True)
        ]
        if max(claimed for claimed, _ in claims) < _REJECTED:
            continue
        if all(true >= _TRUE for claimed, true in claims if claimed >= _REJECTED):
            right += 1
        else:
            wrong.append(f"{both[0].name} / {both[1].name}: {claims}")
    return {"pairs": right + len(wrong), "precision": right / max(1, right + len(wrong)), "wrong": wrong}


def _negatives(items: Sequence[Item]) -> dict[str, Any]:
    """Compare other videos of the same scene, whether or not they share hash keys."""
    similarity, counts, wrong = similarities()["video"], {}, []
    for one, other in itertools.combinations(items, 2):
        if one.clip.scene != other.clip.scene or one.clip.course == other.clip.course:
            continue
        if max(one.clip.minutes, other.clip.minutes) > 20 or {one.clip.kind, other.clip.kind} - {"", "several"}:
            continue
        shared = similarity.compare(one.signature, other.signature)
        share = max(shared.containment_a, shared.containment_b) if shared else 0.0
        count = counts.setdefault(one.clip.scene, [0, 0])
        count[0] += 1
        if share >= _TRUE:
            count[1] += 1
            wrong.append(f"{one.clip.name} / {other.clip.name}: {share:.2f}")
    return {"compared": counts, "wrong": wrong}


def _show(
    rows: list[dict[str, Any]], judged: dict[str, Any], negatives: dict[str, Any], facts: dict[str, int], seconds: float
) -> None:
    lengths = sorted({row["minutes"] for row in rows})
    print(f"\nlong videos: {facts}, {seconds:.1f} s of CPU time\n")
    print(f"{'copies of':<18}" + "".join(f"{f'{minutes:g} min':>14}" for minutes in lengths))
    groups = {"whole copies": WHOLE} | {kind: (kind,) for kind in ENCODINGS}
    for name, kinds in groups.items():
        cells = []
        for minutes in lengths:
            cell = [row["found"] for row in rows if row["kind"] in kinds and row["minutes"] == minutes]
            cells.append(f"{sum(cell)} of {len(cell)}" if cell else "")
        print(f"{name:<18}" + "".join(f"{cell:>14}" for cell in cells))
    for row in [row for row in rows if not row["found"]][:40]:
        print(f"    missed: {row['name']}, containment {row['containment']:.2f}")
    print(f"\nprecision {judged['precision']:.4f} over {judged['pairs']} pairs that would reject an item")
    for name in judged["wrong"][:20]:
        print(f"    wrong: {name}")
    for scene, (pairs, wrong) in negatives["compared"].items():
        print(f"other videos, {scene}: {wrong} of {pairs} pairs share too much")
    for name in negatives["wrong"][:20]:
        print(f"    {name}")
