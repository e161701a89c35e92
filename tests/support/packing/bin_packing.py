"""Reference algorithms for the tests of bin packing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.packing.histogram_bins import Bins, Integers, Placement


def laid_out(lengths: Sequence[int], placed: list[Placement], bins: Bins) -> tuple[Integers, Integers]:
    """Return the tokens in each bin, once from the placements and once from the room of the bins."""
    ordered = -np.sort(-np.array(lengths, np.int64))
    chosen = np.full(len(ordered), -1)
    for p in placed:
        assert (chosen[p.item : p.item + p.items] == -1).all()
        chosen[p.item : p.item + p.items] = p.first + np.arange(p.items) % p.bins
    assert (chosen >= 0).all()
    room = np.zeros(bins.count, np.int64)
    for run in bins.rooms():
        room[run.first : run.first + run.bins] = run.room
    return np.bincount(chosen, ordered, minlength=bins.count).astype(np.int64), bins.capacity - room


def reference_best_fit_decreasing(lengths: Sequence[int], capacity: int) -> list[int]:
    """Place items one by one in the fullest bin that fits; return the room of each bin."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [i for i, room in enumerate(rooms) if room >= length]
        if fitting:
            rooms[min(fitting, key=lambda i: rooms[i])] -= length
        else:
            rooms.append(capacity - length)
    return rooms


def optimal_bins(lengths: tuple[int, ...], capacity: int, rooms: tuple[int, ...] = ()) -> int:
    """Return the minimum number of bins by exhaustive search."""
    if not lengths:
        return len(rooms)
    first, rest = lengths[0], lengths[1:]
    choices = [(*rooms[:i], room - first, *rooms[i + 1 :]) for i, room in enumerate(rooms) if room >= first]
    return min(optimal_bins(rest, capacity, bins) for bins in [*choices, (*rooms, capacity - first)])
