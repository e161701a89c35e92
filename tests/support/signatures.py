"""Generated frames that drift and change as in a film, their signatures, and a workspace that contains them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.dedup.similarity import Signature
from pipeline.runtime.workspace import Workspace, write_table_unit
from pipeline.video.analysis.frame_signature import GRAY_SIDE, frame_signature
from schemas.fingerprint import fingerprint
from schemas.records import SIGNATURES, SURVEY


def scene(seed: int, seconds: float, *, start: float = 0.0, step: float = 0.5, calm: bool = False) -> list[Any]:
    """Return gray frames [64, 64] of soft moving shapes, one every `step` seconds; if `calm`, few shapes move."""
    rng = np.random.default_rng(seed)
    waves = rng.normal(size=(40, 1, 1)) / np.linspace(1, 4, 40)[:, None, None]
    where = rng.uniform(-5, 5, (2, 40, 1, 1)) * 2 * np.pi / GRAY_SIDE
    pace, phase = rng.uniform(-1, 1, (40, 1, 1)), rng.uniform(0, 7, (40, 1, 1))
    swings = rng.uniform(0.3, 2, (3, 40, 1, 1)), rng.uniform(0, 7, (3, 40, 1, 1))
    moves = (np.arange(40) > 25)[:, None, None]
    y, x = np.mgrid[:GRAY_SIDE, :GRAY_SIDE]
    at = np.arange(start, start + seconds - 1e-9, step)[:, None, None, None]
    shift = 1.5 * np.sin(swings[0] * at[..., None] + swings[1]).sum(1) * moves if calm else pace * at
    # sin(a + b) of all times at once, as products of what depends on the place and what depends on the time
    places, times = (where[0] * y + where[1] * x).reshape(40, -1), (shift + phase)[..., 0, 0]
    weights = waves[:, 0, 0]
    field = (weights * np.cos(times)) @ np.sin(places) + (weights * np.sin(times)) @ np.cos(places)
    grays = np.clip(128 + 40 * field, 0, 255).astype(np.uint8)
    return list(grays.reshape(-1, GRAY_SIDE, GRAY_SIDE))


def signature(
    name: str, grays: Sequence[NDArray[np.uint8]], *, step: float = 0.5, kind: str = "video", at: Any = None
) -> Signature:
    """Return the signature of gray frames at the times `at`, by default every `step` seconds."""
    times: Any = np.arange(len(grays)) * step if at is None else np.asarray(at, float)
    samples = tuple(frame_signature(gray) for gray in grays)
    return Signature(fingerprint(name), kind, times, np.full(len(grays), float(step)), samples)


def write_signatures(
    root: Path, signatures: Iterable[Signature], *, units: int = 3, rejected: Sequence[str] = ()
) -> Any:
    """Return a workspace with survey and signature units only; the survey rejected the content_ids in `rejected`."""
    workspace = Workspace.open(root, units=units)
    rows: dict[int, list[Signature]] = {}
    for number, item in enumerate(signatures):
        rows.setdefault(workspace.unit_of(f"{number}.mp4"), []).append(item)
    for unit, items in rows.items():
        table = [
            {
                "content_id": s.content_id,
                "kind": s.kind,
                "starts": s.starts,
                "lengths": s.lengths,
                "samples": list(s.samples),
                "activity": s.activity,
            }
            for s in items
        ]
        write_table_unit(workspace.signatures, unit, pa.Table.from_pylist(table, SIGNATURES))
        survey = [
            dict.fromkeys(SURVEY.names)
            | {"uri": f"{s.content_id[:8]}.mp4", "kind": s.kind, "content_id": s.content_id}
            | {"reason": "black" if s.content_id in rejected else None}
            for s in items
        ]
        write_table_unit(workspace.survey, unit, pa.Table.from_pylist(survey, SURVEY))
    return workspace
