"""How many changed copies of clips the search finds, by change and strength, and which pairs it finds wrongly."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from near_duplicates_parts.clip_signatures import signature_of
from near_duplicates_parts.clips import (
    INTRO_S,
    STRENGTHS,
    Clip,
    copies,
    film,
    heavy_copy,
    originals,
    sample_videos,
    sub_clips,
    with_intro,
)
from pipeline.dedup.config import DedupConfig, similarities
from pipeline.dedup.job import dedup_items
from pipeline.dedup.pairs import Pair, read_pairs
from pipeline.dedup.similarity import Signature
from pipeline.runtime.beam import Runner
from pipeline.runtime.workspace import Workspace, write_table_unit
from pipeline.select.keep_best import KeepConfig
from schemas.records import SIGNATURES, SURVEY

_REJECTED = KeepConfig().min_containment
_TRUE = 0.6  # a containment reported as at least `_REJECTED` is right if the true one is at least this


@dataclass(frozen=True)
class Item:
    """A clip and its signature."""

    clip: Clip
    signature: Signature

    @property
    def length(self) -> float:
        """Seconds, by its samples."""
        return float(self.signature.lengths.sum())


def videos(folder: Path, *, sources: Path | None = None, strengths: tuple[str, ...] = STRENGTHS) -> dict[str, Any]:
    """Generate clips in `folder` from `sources` (default: the sample videos), search, and compare with the truth."""
    clips = _clips(folder, sources, strengths)
    seen = [Item(clip, signature_of(clip.path, clip.name, as_film=clip.change == "film")) for clip in clips]
    items = [item for item in seen if similarities()["video"].hash_keys(item.signature).size]
    left_out = len(seen) - len(items)
    print(f"{left_out} of {len(seen)} clips have no hash keys and are excluded", flush=True)
    began = time.perf_counter()
    found, facts = search([item.signature for item in items])
    seconds = time.perf_counter() - began
    rows = list(_recall(items, found))
    judged = _precision(items, found)
    parts = [item for item in items if not item.clip.change]
    blind = _blind(items)
    _show(rows, judged, blind, len(parts), facts, seconds)
    counts = {"originals": len(parts), "clips": len(items), "left out": left_out, "search": facts}
    return counts | {"recall": rows, "precision": judged, "all with all": blind}


def _clips(folder: Path, sources: Path | None, strengths: tuple[str, ...]) -> Iterator[Clip]:
    given = originals(folder, sources or sample_videos(folder))
    parts = [clip for clip in given if not _is_whole_of_parts(clip, given)]
    wholes = [clip for clip in given if _is_whole_of_parts(clip, given)]
    yield from given
    for clip in parts:
        yield from copies(folder, clip, strengths=strengths)
        yield from sub_clips(folder, clip, strengths=strengths)
    for clip in wholes:
        yield from sub_clips(folder, clip, strengths=strengths)
        yield film(folder, clip)
    intro = next(clip for clip in given if clip.source == "a").path
    yield from (with_intro(folder, clip, intro) for clip in parts if clip.source != "a")
    if sources is None:
        yield heavy_copy(folder)


def _is_whole_of_parts(clip: Clip, clips: Sequence[Clip]) -> bool:
    return any(c.source == clip.source and c != clip for c in clips) and clip.start == 0 and clip.end > 9.9


def search(signatures: Sequence[Signature]) -> tuple[dict[tuple[str, str], Pair], dict[str, int]]:
    """Return the pairs that the job finds, and its counts."""
    with tempfile.TemporaryDirectory() as scratch:
        workspace = Workspace.open(Path(scratch) / "w", units=1)
        rows = [
            {
                "content_id": s.content_id,
                "kind": s.kind,
                "starts": s.starts,
                "lengths": s.lengths,
                "samples": s.samples,
                "activity": s.activity,
            }
            for s in signatures
        ]
        write_table_unit(workspace.signatures, 0, pa.Table.from_pylist(rows, SIGNATURES))
        empty = dict.fromkeys(SURVEY.names)
        survey = [empty | {"uri": s.content_id, "kind": s.kind, "content_id": s.content_id} for s in signatures]
        write_table_unit(workspace.survey, 0, pa.Table.from_pylist(survey, SURVEY))
        report = dedup_items(workspace, DedupConfig(), Runner())
        return {(pair.a, pair.b): pair for pair in read_pairs(workspace)}, report.facts


def _shared_s(one: Clip, other: Clip) -> float:
    """Return the seconds that two clips truly share, without an intro."""
    same = one.source == other.source
    return max(0.0, min(one.end, other.end) - max(one.start, other.start)) if same else 0.0


def _recall(items: Sequence[Item], found: dict[tuple[str, str], Pair]) -> Iterator[dict[str, Any]]:
    """Yield by change and strength how many copies were found to be contained in an original that contains them."""
    bases = [item for item in items if not item.clip.change]
    films = [item for item in items if item.clip.change == "film"]
    cases: dict[tuple[str, str], list[tuple[bool, str]]] = {}
    for item in items:
        if item.clip.change in ("", "film", "intro"):
            continue
        whole = item.clip.end - item.clip.start
        for against, kind in ((bases, item.clip.change), (films, "clip of a film")):
            for base in against:
                if _shared_s(item.clip, base.clip) < whole - 1e-6 or (kind == "clip of a film" and whole < 3):
                    continue
                if kind != "sub-clip" and item.clip.change == "sub-clip" and against is bases:
                    continue
                if kind == "clip of a film" and item.clip.change != "sub-clip":
                    continue
                pair = _pair(item, base, found)
                good = pair is not None and pair.containment_of(item.signature.content_id) >= _REJECTED
                cases.setdefault((kind, item.clip.strength), []).append((good, f"{item.clip.name} in {base.clip.name}"))
    for (kind, strength), outcomes in sorted(cases.items()):
        yield {
            "kind": kind,
            "strength": strength,
            "cases": len(outcomes),
            "found": sum(good for good, _ in outcomes),
            "missed": [name for good, name in outcomes if not good],
        }


def _pair(one: Item, other: Item, found: dict[tuple[str, str], Pair]) -> dict[str, Any] | None:
    a, b = sorted((one.signature.content_id, other.signature.content_id))
    return found.get((a, b))


def _precision(items: Sequence[Item], found: dict[tuple[str, str], Pair]) -> dict[str, Any]:
    """Return how many pairs that would reject an item are right, and the errors of the reported containments."""
    by_id = {item.signature.content_id: item for item in items}
    right, wrong, off = 0, [], []
    for (a, b), pair in found.items():
        one, other = by_id[a], by_id[b]
        if _is_unknown(one.clip, other.clip):
            continue
        shared = _shared_s(one.clip, other.clip) + (INTRO_S if one.clip.change == other.clip.change == "intro" else 0)
        if {one.clip.source, other.clip.source} & {"a"} and "intro" in (one.clip.change, other.clip.change):
            continue  # the intro is cut from this source
        claims = [(pair.containment_of(i.signature.content_id), min(1.0, shared / i.length)) for i in (one, other)]
        off += [claimed - true for claimed, true in claims]
        if max(claimed for claimed, _ in claims) >= _REJECTED:
            if all(true >= _TRUE for claimed, true in claims if claimed >= _REJECTED):
                right += 1
            else:
                wrong.append(f"{one.clip.name} / {other.clip.name}: {claims}")
    return {
        "pairs": right + len(wrong),
        "right": right,
        "precision": right / max(1, right + len(wrong)),
        "wrong": wrong,
        "containment error (mean, 95 %, maximum)": [
            float(np.mean(np.abs(off))), float(np.percentile(np.abs(off), 95)), float(np.max(np.abs(off)))
        ],
    }  # fmt: skip


def _blind(items: Sequence[Item]) -> dict[str, Any]:
    """Compare hard negatives pairwise, whether or not they share hash keys."""
    similarity = similarities()["video"]
    chosen = [item for item in items if item.clip.change in ("", "intro")]
    kinds = {"next parts": [0, 0], "other takes": [0, 0], "same intro": [0, 0], "other videos": [0, 0]}
    wrong = []
    for one, other in itertools.combinations(chosen, 2):
        if (
            _is_unknown(one.clip, other.clip)
            or _shared_s(one.clip, other.clip) > 0
            or "a" in (one.clip.source, other.clip.source)
        ):
            continue
        intro = one.clip.change == other.clip.change == "intro"
        kind = "same intro" if intro else _relation(one.clip.source, other.clip.source)
        shared = similarity.compare(one.signature, other.signature)
        most = max(shared.containment_a, shared.containment_b) if shared else 0.0
        allowed = INTRO_S / min(one.length, other.length) + 0.1 if intro else 0.1
        kinds[kind][0] += 1
        if most > allowed:
            kinds[kind][1] += 1
            wrong.append(f"{one.clip.name} / {other.clip.name}: {shared}")
    return {"compared": {kind: {"pairs": n, "too much": bad} for kind, (n, bad) in kinds.items()}, "which": wrong}


_TAKES = ({"jwpIntro", "testMovie"},)
# Samples that were cut from each other at unknown positions; the search found them (similarity above 0.98).
_CUT_FROM_EACH_OTHER = ({"face_noface", "noface_face", "single_face"}, {"bigbuckbunny", "trailer_bbb"})


def _is_unknown(one: Clip, other: Clip) -> bool:
    sources = {one.source, other.source}
    return len(sources) == 2 and any(sources <= group for group in _CUT_FROM_EACH_OTHER)


def _relation(one: str, other: str) -> str:
    if one == other:
        return "next parts"
    return "other takes" if {one, other} in _TAKES else "other videos"


def _show(
    rows: list[dict[str, Any]],
    judged: dict[str, Any],
    blind: dict[str, Any],
    parts: int,
    facts: dict[str, int],
    seconds: float,
) -> None:
    print(f"\nvideos: {parts} originals; {facts} in {seconds:.1f} s\n")
    print(f"{'copies':<18}" + "".join(f"{name:>16}" for name in STRENGTHS) + f"{'recall':>10}")
    for kind in dict.fromkeys(row["kind"] for row in rows):
        of_kind = {row["strength"]: row for row in rows if row["kind"] == kind}
        cells = [f"{r['found']} of {r['cases']}" if (r := of_kind.get(s)) else "" for s in STRENGTHS]
        recall = sum(r["found"] for r in of_kind.values()) / sum(r["cases"] for r in of_kind.values())
        if "" in of_kind:
            cells[0] = f"{of_kind['']['found']} of {of_kind['']['cases']}"
        print(f"{kind:<18}" + "".join(f"{cell:>16}" for cell in cells) + f"{recall:>10.3f}")
        for row in of_kind.values():
            for name in row["missed"][:5]:
                print(f"    missed: {row['strength']} {name}")
    print(
        f"\nprecision {judged['precision']:.4f}: {judged['right']} of {judged['pairs']} pairs that would reject an item"
    )
    for name in judged["wrong"][:10]:
        print(f"    wrong: {name}")
    mean, most, worst = judged["containment error (mean, 95 %, maximum)"]
    print(f"error of the containments: {mean:.3f} (mean), {most:.3f} (95th percentile), {worst:.3f} (maximum)")
    for kind, counts in blind["compared"].items():
        print(f"{kind}: {counts['too much']} of {counts['pairs']} pairs share too much")
    for name in blind["which"][:10]:
        print(f"    {name}")
