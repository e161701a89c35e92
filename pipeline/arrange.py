"""Arranging one split's documents in sequences, so that as few as possible are needed.

1. Whole documents, and long videos cut between frames into pieces as long as the context with one shorter tail each,
   by best-fit-decreasing (`bins`).
2. Where that leaves a sequence or more to be saved, the tails are taken out again and threaded through the gaps, cut
   once more where that keeps a bin from being opened. The better of both is kept.
3. Books, the short ones first so that long ones stay long, are poured through the gaps that are left, the widest
   first, and on into sequences of their own (`cuts.pour`).

With enough books nothing but the last sequence has room left. Without, best-fit-decreasing is a heuristic: it uses at
most 11/9 of the best number of bins, and nearly always much less (benchmarks/packing.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from pipeline.bins import Bins, Integers, best_fit_decreasing, fewest_bins
from pipeline.cuts import cut_at, cut_video, pour


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
) -> Pieces:
    """Arrange the documents `others` and `books`, which are indices into `lengths`, in sequences numbered from 0.

    `videos` are those of `others` that are longer than the context; all the rest of `others` stay whole. Equal lengths
    are taken in the order of the indices. Raises ConfigError where a video cannot be cut short enough.
    """
    text = int(lengths[books].sum())
    whole = others[lengths[others] <= context_length]
    uncut = np.stack([whole, np.zeros_like(whole), lengths[whole]])
    cut = _cut(videos, context_length)
    packed, bins = _pack(np.hstack([uncut, cut]), context_length)
    unused = _with_text(bins, text) * context_length - int(packed.length.sum()) - text
    if videos and unused >= context_length:
        document, start, length = cut
        is_tail = start + length == lengths[document]
        tails = np.flatnonzero(is_tail)[np.lexsort((document[is_tail], -length[is_tail]))]
        threaded, fewer = _pack(np.hstack([uncut, cut[:, ~is_tail]]), context_length)
        threaded = _thread(threaded, fewer, zip(document[tails].tolist(), start[tails].tolist(), strict=True), videos)
        if _with_text(fewer, text) < _with_text(bins, text):
            packed, bins = threaded, fewer
    return _join(packed, _pour_books(books, lengths, bins))


def fewest_sequences(
    others: Integers, books: Integers, lengths: Integers, videos: Mapping[int, LongVideo], *, context_length: int
) -> int:
    """Return a number of sequences that no arrangement can go below; arguments as for `arrange`.

    Books count as tokens only; whole documents, and each frame and text of the long videos for itself, count as items
    that cannot be cut.
    """
    atoms = [np.diff(video.points, prepend=0) for video in videos.values()]
    whole = others[lengths[others] <= context_length]
    items = np.concatenate([lengths[whole], *(a[a > 1] for a in atoms)])
    tokens = int(lengths[others].sum() + lengths[books].sum())
    return max(-(-tokens // context_length), fewest_bins(items, context_length))


def _cut(videos: Mapping[int, LongVideo], context_length: int) -> Integers:
    pieces = [
        (row, start, length)
        for row, video in videos.items()
        for start, length in cut_video(video.points, context_length=context_length, where=video.where)
    ]
    return np.array(pieces, np.int64).reshape(-1, 3).T


def _pack(pieces: Integers, context_length: int) -> tuple[Pieces, Bins]:
    """Pack pieces [3, N] of (document, start, length) by best-fit-decreasing."""
    document, start, length = pieces[:, np.lexsort((pieces[1], pieces[0], -pieces[2]))]
    sequence, bins = best_fit_decreasing(length, context_length)
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
