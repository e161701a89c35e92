from __future__ import annotations

import numpy as np

from trainer.inference.requests import FrameLimits, Guidance, Request, Sampling, StopConditions
from trainer.inference.rows import Row, allowed_ids, places, settings


def _row(request: Request, *, slot: int, run: int = 0, other: Row | None = None) -> Row:
    ids = np.asarray(request.prompt, np.int32)
    return Row(ticket=slot, request=request, slot=slot, ids=ids, pages=[], run=run, other=other)


def _guided() -> Row:
    """A row of two ids in slot 2, and that of its other prompt, of three ids, in slot 0."""
    request = Request(prompt=[7, 8], max_tokens=5, guidance=Guidance(prompt=[4, 5, 6], scale=1.5))
    other = _row(Request(prompt=[4, 5, 6], max_tokens=5), slot=0, run=1)
    return _row(request, slot=2, run=1, other=other)


def test_a_row_is_ready_when_all_but_the_last_id_of_its_prompts_has_run() -> None:
    row = _guided()
    assert not row.ready
    row.other.run = 2
    assert row.ready


def test_generated_ids_are_those_of_both_prompts_rows() -> None:
    row = _guided()
    row.append([11, 12])
    assert row.remaining == 3
    assert [row.all_ids.tolist(), row.other.all_ids.tolist()] == [[7, 8, 11, 12], [4, 5, 6, 11, 12]]
    assert (row.run, row.other.run) == (3, 4)


def test_places_are_the_last_ids_and_idle_slots_have_nothing_remaining() -> None:
    row = _guided()
    start = places([row], slots=4)
    assert np.stack(start).tolist() == [[6, 0, 8, 0], [2, 0, 1, 0], [5, 0, 5, 0]]
    row.append([11])
    assert np.stack(places([row], slots=4)).tolist() == [[11, 0, 11, 0], [3, 0, 2, 0], [4, 0, 4, 0]]


def test_settings_are_those_of_the_requests_by_slot() -> None:
    sampling = Sampling(temperature=1e-6, top_k=5, top_p=0.5, min_p=0.25, repetition_penalty=2.0, seed=(3 << 32) + 9)
    stop = StopConditions(ids=tuple(range(20, 29)))
    plain = _row(Request(prompt=[1], max_tokens=1, sampling=sampling, stop=stop, frames=FrameLimits()), slot=1)
    made = settings([_guided(), plain], slots=4)
    assert made.stop_ids.shape == (4, 16)
    assert made.stop_ids[1, :9].tolist() == list(stop.ids)
    assert np.all(made.stop_ids[[0, 2, 3]] == -1)
    assert made.bound.tolist() == [False, True, False, False]
    assert (made.other.tolist(), made.leader.tolist()) == ([0, 1, 0, 3], [2, 1, 2, 3])
    assert made.scale.tolist() == [1, 1, 1.5, 1]
    assert [x[1].tolist() for x in made.sampling] == [0, 5, 0.5, 0.25, 2, [3, 9]]
    assert made.sampling.temperature.tolist() == [0, 0, 1, 0]


def test_masks_of_the_host_are_of_their_rows_only() -> None:
    free, masked = _row(Request(prompt=[1], max_tokens=3), slot=0), _row(Request(prompt=[1], max_tokens=3), slot=1)
    assert allowed_ids([free, masked], slots=2, size=3) is None
    asked = Request(prompt=[1], max_tokens=3, allowed=lambda new: np.arange(3) == len(new))
    masked = _row(asked, slot=1)
    masked.append([0, 1])
    assert allowed_ids([free, masked], slots=2, size=3).tolist() == [[True] * 3, [False, False, True]]
