"""Arranging one split's documents in sequences, so that as few as possible are needed.

1. Whole documents, and long videos cut between frames into pieces as long as the context with one shorter tail each,
   are packed by best-fit-decreasing (`bins`).
2. Where books cannot fill what that leaves and it is more than 0.1 % from a lower bound, more is tried: the tails are
   threaded through the gaps, cut once more where that keeps a bin from being opened; and the packing is done by
   patterns (`patterns`). The best is kept.
3. Books, the short ones first so that long ones stay long, are poured through the gaps that are left, the widest
   first, and on into sequences of their own (`cuts.pour`).

With enough books nothing but the last sequence has room left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from pipeline.bins import Bins, Integers, best_fit_decreasing, fewest_bins
from pipeline.cuts import cut_at, cut_video, pour
from pipeline.patterns import fewest_by_patterns, pack_by_patterns

_GOOD = 0.999  # of the best that could be: no more is tried


class LongVideo(NamedTuple):
    """Where a video that is longer than the context may be cut (`cuts.cut_points`), and its name for messages."""

    points: Integers
    where: str


class Pieces(NamedTuple):
    """Pieces of documents, each [N]: of which document, from where, how long, and in which sequence."""

    document: Integers
    start: Integers
    length: Integers
    sequence: Integers


def arrange(
    others: Integers, books: Integers, lengths: Integers, videos: Mapping[int, LongVideo], *, context_length: int
) -> tuple[Pieces, int]:
    """Arrange the documents `others` and `books`, which are indices into `lengths`, in sequences numbered from 0.

    `videos` are those of `others` that are longer than the context; all the rest of `others` stay whole. Equal lengths
    are taken in the order of the indices. Returns the pieces, and a number of sequences that no arrangement can go
    below. Raises ConfigError where a video cannot be cut short enough.
    """
    text = int(lengths[books].sum())
    whole = others[lengths[others] <= context_length]
    uncut = np.stack([whole, np.zeros_like(whole), lengths[whole]])
    # Books count as tokens only; each frame and text of the long videos is an item that cannot be cut.
    atoms = [np.diff(video.points, prepend=0) for video in videos.values()]
    items = -np.sort(-np.concatenate([uncut[2], *(a[a > 1] for a in atoms)]))
    fewest = max(-(-(int(lengths[others].sum()) + text) // context_length), fewest_bins(items, context_length))
    best: tuple[int, Pieces, Bins] | None = None
    for packed, bins in _candidates(uncut, _cut(videos, context_length), lengths, videos, context_length):
        count = _with_text(bins, text)
        if best is None or count < best[0]:
            best = count, packed, bins
        if best[0] * _GOOD <= fewest:
            break
    else:
        fewest = max(fewest, fewest_by_patterns(items, context_length))
    assert best is not None  # there is always a candidate
    return _join(best[1], _pour_books(books, lengths, best[2])), fewest


def _candidates(
    uncut: Integers, cut: Integers, lengths: Integers, videos: Mapping[int, LongVideo], context_length: int
) -> Iterator[tuple[Pieces, Bins]]:
    """Yield packings of whole documents `uncut` and pieces `cut`, both [3, N], the quicker first."""
    document, start, length = cut
    is_tail = start + length == lengths[document]
    tails = np.flatnonzero(is_tail)[np.lexsort((document[is_tail], -length[is_tail]))]
    for packer in (best_fit_decreasing, pack_by_patterns):
        yield _pack(np.hstack([uncut, cut]), context_length, packer)
        if videos:
            packed, bins = _pack(np.hstack([uncut, cut[:, ~is_tail]]), context_length, packer)
            yield _thread(packed, bins, zip(document[tails].tolist(), start[tails].tolist(), strict=True), videos), bins


def _cut(videos: Mapping[int, LongVideo], context_length: int) -> Integers:
    pieces = [
        (row, start, length)
        for row, video in videos.items()
        for start, length in cut_video(video.points, context_length=context_length, where=video.where)
    ]
    return np.array(pieces, np.int64).reshape(-1, 3).T


def _pack(
    pieces: Integers, context_length: int, packer: Callable[[Integers, int], tuple[Integers, Bins]]
) -> tuple[Pieces, Bins]:
    """Pack pieces [3, N] of (document, start, length)."""
    document, start, length = pieces[:, np.lexsort((pieces[1], pieces[0], -pieces[2]))]
    sequence, bins = packer(length, context_length)
    return Pieces(document, start, length, sequence), bins


def _thread(packed: Pieces, bins: Bins, tails: Iterable[tuple[int, int]], videos: Mapping[int, LongVideo]) -> Pieces:
    """Add the tails (document, start) of long videos to `packed` and its `bins`."""
    added: list[tuple[int, int, int, int]] = []
    for document, begin in tails:
        points = videos[document].points
        start, end = begin, int(points[-1])
        while start < end:
            room = bins.snuggest(end - start)
            point: int | None = end
            if room is None:
                room = bins.roomiest()
                point = cut_at(points, start, room)
            if point is None:
                added.append((document, start, end - start, bins.place(end - start, 1)[0].first))
                break
            added.append((document, start, point - start, bins.put_one(room, point - start)))
            start = point
    return _join(packed, Pieces(*np.array(added, np.int64).reshape(-1, 4).T))


def _with_text(bins: Bins, text: int) -> int:
    """Return how many sequences there are once `text` tokens of books have filled the bins' gaps."""
    return bins.count + max(0, -(-(text - int(bins.rooms().sum())) // bins.capacity))


def _pour_books(books: Integers, lengths: Integers, bins: Bins) -> Pieces:
    rooms = bins.rooms()
    widest = np.argsort(-rooms, kind="stable")
    order = books[np.lexsort((books, lengths[books]))]
    poured = pour(lengths[order], rooms[widest], context_length=bins.capacity)
    own = np.arange(bins.count, int(poured.gap.max(initial=0)) + 1)
    return Pieces(order[poured.text], poured.start, poured.length, np.concatenate([widest, own])[poured.gap])


def _join(a: Pieces, b: Pieces) -> Pieces:
    return Pieces(*(np.concatenate(pair) for pair in zip(a, b, strict=True)))
