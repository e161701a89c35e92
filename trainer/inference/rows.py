"""The rows of the batch on the host: what each one has run, and what its request asks of the compiled program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trainer.inference.page_pool import Ids
from trainer.inference.programs import RowPlaces, RowSettings
from trainer.inference.requests import GREEDY_BELOW, Request
from trainer.inference.sampling import SamplingRows

_STOP_IDS = 8  # their number is rounded up to a multiple of this


@dataclass
class Row:
    """A row in use: its ids, and how many of them are in the pages. The last one is not, until it is decoded."""

    ticket: int
    request: Request
    slot: int  # index in the batch
    ids: Ids  # of the prompt
    pages: list[int]
    run: int  # ids whose keys and values are in the pages
    other: Row | None = None  # that of the other prompt of guidance; it takes the ids of this one
    new: list[int] = field(default_factory=list)  # the ids generated so far

    @property
    def ready(self) -> bool:
        """Whether the prompt has been run, up to its last id."""
        return self.run >= len(self.ids) - 1 and (self.other is None or self.other.ready)

    @property
    def remaining(self) -> int:
        """How many ids it may still generate."""
        return self.request.max_tokens - len(self.new)

    @property
    def all_ids(self) -> Ids:
        """Prompt and reply."""
        return np.concatenate([self.ids, np.asarray(self.new, np.int32)])

    def append(self, ids: Sequence[int]) -> None:
        """Append generated ids; all but the last of the row are in the pages."""
        for row in (self, self.other):
            if row is not None:
                row.new.extend(ids)
                row.run = len(row.ids) + len(row.new) - 1


def places(rows: Sequence[Row], *, slots: int) -> RowPlaces:
    """Return where the rows are; other slots are idle."""
    last, position, remaining = (np.zeros(slots, np.int32) for _ in range(3))
    for row in rows:
        for one in (row, row.other):
            if one is not None:
                last[one.slot] = one.new[-1] if one.new else one.ids[-1]
                position[one.slot] = len(one.ids) + len(one.new) - 1
                remaining[one.slot] = row.remaining
    return RowPlaces(last, position, remaining)  # type: ignore[arg-type]


def settings(rows: Sequence[Row], *, slots: int) -> RowSettings:
    """Return what the requests of the rows ask for."""
    most = max((len(row.request.stop.ids) for row in rows), default=0)
    stop_ids = np.full((slots, -(-max(most, 1) // _STOP_IDS) * _STOP_IDS), -1, np.int32)
    other, leader = (np.arange(slots, dtype=np.int32) for _ in range(2))
    scale, bound = np.ones(slots, np.float32), np.zeros(slots, np.bool_)
    for row in rows:
        request = row.request
        bound[row.slot] = request.frames is not None
        for one in (row, row.other):
            if one is not None:
                stop_ids[one.slot, : len(request.stop.ids)] = request.stop.ids
                leader[one.slot] = row.slot
        if row.other is not None and request.guidance is not None:
            other[row.slot], scale[row.slot] = row.other.slot, request.guidance.scale
    return RowSettings(_sampling(rows, slots), stop_ids, other, leader, scale, bound)  # type: ignore[arg-type]


def _sampling(rows: Sequence[Row], slots: int) -> SamplingRows:
    temperature, min_p = np.zeros(slots, np.float32), np.zeros(slots, np.float32)
    top_p, penalty = np.ones(slots, np.float32), np.ones(slots, np.float32)
    top_k, key = np.zeros(slots, np.int32), np.zeros((slots, 2), np.uint32)
    for row in rows:
        s, n = row.request.sampling, row.slot
        temperature[n] = s.temperature if s.temperature >= GREEDY_BELOW else 0
        top_k[n] = min(s.top_k, np.iinfo(np.int32).max)
        top_p[n], min_p[n], penalty[n] = s.top_p, s.min_p, s.repetition_penalty
        key[n] = s.seed >> 32, s.seed & 0xFFFFFFFF
    return SamplingRows(temperature, top_k, top_p, min_p, penalty, key)  # type: ignore[arg-type]


def allowed_ids(rows: Sequence[Row], *, slots: int, size: int) -> NDArray[np.bool_] | None:
    """Return the masks that the requests compute on the host, [B,V]; None if none does."""
    if all(row.request.allowed is None for row in rows):
        return None
    made = np.ones((slots, size), np.bool_)
    for row in rows:
        if row.request.allowed is not None:
            made[row.slot] = row.request.allowed(tuple(row.new))
    return made
