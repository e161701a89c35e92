"""Similarity of books: MinHash signatures of passages, aligned passage by passage.

A book is split into samples of about 1,000 words, where two successive words have a small hash (content-defined
chunking): line breaks, paragraphs, quotes and the preface of another edition move only the boundaries that they touch.
A sample is 64 MinHashes (Broder 1997; rensa) of its shingles of 5 words. The share of equal MinHashes of two samples is
an unbiased estimate of the share of common shingles (Jaccard similarity).

Hash keys are 21 LSH bands of 3 MinHashes: samples of Jaccard similarity J share at least one with probability
1 - (1 - J^3)^21, which is 0.16 for J = 0.2, 0.44 for 0.3, 0.75 for 0.4, 0.94 for 0.5; a novel of 100 samples has a
hundred such chances. Unrelated texts of one language have a J of about 0.0005: a given sample shares a key with about
0.25 of 10^8 samples.

Two samples are the same text from a Jaccard similarity of 0.3, or from 0.12 if neighboring samples agree as well, as in
bad OCR. A gap between two agreeing samples is filled if it is about equally long in both books. Cost: 256 bytes per
sample; two novels are compared in a few milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import rensa
from numpy.typing import NDArray

from pipeline.dedup.similarity import Range, Shared, Signature
from pipeline.text.words import Words, mix, shingles, split_words
from schemas.deadline import checked

VERSION = (2, rensa.RMinHash.ALGORITHM_VERSION)  # change it if the signature of a text changes
_SHINGLE = 5  # words
_HASHES, _BAND, _BANDS = 64, 3, 21
_SEED = 42
_MIN_WORDS, _MAX_WORDS, _MEAN_REST = 400, 2500, 600  # of a sample
_BATCH = 1024  # samples per call of rensa
_MAX_EQUAL = 8  # samples of a book that agree in one MinHash and are compared


def book_signature(text: str, content_id: str, words: Words | None = None) -> Signature:
    """Return the signature of a clean text; `words` are its words, if they are known already."""
    words = split_words(text) if words is None else words
    boundaries = _boundaries(words.hashes)
    hashes = shingles(words.hashes, _SHINGLE) if len(words.hashes) >= _SHINGLE else words.hashes
    # A shingle belongs to the sample that it starts in, or to the last sample.
    offsets = np.minimum(boundaries, len(hashes))
    used = np.flatnonzero(np.diff(offsets))
    samples = [np.unique(hashes[offsets[i] : offsets[i + 1]]) for i in checked(used)]
    starts = np.append(words.starts, len(text))[boundaries[used]] if len(used) else np.zeros(0, np.int64)
    ends = np.append(starts[1:], len(text)) if len(used) else starts
    return Signature(
        content_id=content_id,
        kind="book",
        starts=starts.astype(np.float64),
        lengths=(ends - starts).astype(np.float64),
        samples=_minhashes(samples),
    )


class _Agreement(NamedTuple):
    """The pairs of samples of two books that are the same text, in the order of the first book."""

    first: NDArray[np.int64]  # [n], samples of a
    second: NDArray[np.int64]  # [n], samples of b
    jaccard: NDArray[np.float64]  # [n]


@dataclass(frozen=True, kw_only=True)
class BookSimilarity:
    """Near-duplicate search for books. The defaults were measured by benchmarks/near_duplicates_books.py."""

    version: int = 2
    min_collisions: int = 1
    sufficient_collisions: int = 1
    min_jaccard: float = 0.3  # of two samples that are the same text
    min_jaccard_with_neighbor: float = 0.12  # the same, if neighboring samples agree as well
    max_gap: int = 6  # samples between two that agree
    min_containment: float = 0.8  # of a sample, from which it is part of a shared range

    def scaled_to(self, items: int) -> BookSimilarity:
        """Return the search itself: passages of books hardly collide by chance in a corpus of any size."""
        return self

    def sample_keys(self, samples: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.uint64]]:
        """Return that all samples have keys, and these; see pipeline.dedup.similarity.Similarity."""
        return np.ones(len(samples), bool), _band_keys(samples.view("<u4").reshape(-1, _HASHES))

    def hash_keys(self, signature: Signature) -> NDArray[np.uint64]:
        """Return one key per band [n, 21]; see pipeline.dedup.similarity.Similarity."""
        return _band_keys(_matrix(signature))

    def compare(self, a: Signature, b: Signature) -> Shared | None:
        """Return which samples two books share; see pipeline.dedup.similarity.Similarity."""
        found = self._agreement(_matrix(a), _matrix(b))
        first, second, jaccard = found
        if not len(first):
            return None
        # A sample is contained at most up to the length of the samples that agree with it: a half is not the whole.
        in_a = np.minimum(1, np.bincount(first, b.lengths[second], len(a.samples)) / np.maximum(1, a.lengths))
        in_b = np.minimum(1, np.bincount(second, a.lengths[first], len(b.samples)) / np.maximum(1, b.lengths))
        weights = a.lengths[first]
        similarity = float(np.sum(jaccard * weights) / np.sum(weights))
        self._fill_gaps(found, a, b, in_a, in_b)
        return Shared(
            containment_a=float(np.sum(a.lengths * in_a) / a.lengths.sum()),
            containment_b=float(np.sum(b.lengths * in_b) / b.lengths.sum()),
            similarity=min(1.0, similarity),
            shared_a=_ranges(a, in_a >= self.min_containment),
            shared_b=_ranges(b, in_b >= self.min_containment),
        )

    def _agreement(self, a: NDArray[np.uint32], b: NDArray[np.uint32]) -> _Agreement:
        """Return the samples of a [n, 64] and b [m, 64] that are the same text."""
        i, j, jaccard = _equal_hashes(a, b)
        candidate = jaccard >= self.min_jaccard_with_neighbor
        i, j, jaccard = i[candidate], j[candidate], jaccard[candidate]
        pairs = {(int(x), int(y)) for x, y in zip(i, j, strict=True)}
        has_neighbor = np.array([_has_neighbor(x, y, pairs) for x, y in zip(i, j, strict=True)], np.bool_)
        agrees = (jaccard >= self.min_jaccard) | has_neighbor
        return _Agreement(i[agrees], j[agrees], jaccard[agrees])

    def _fill_gaps(
        self,
        found: _Agreement,
        a: Signature,
        b: Signature,
        in_a: NDArray[np.float64],
        in_b: NDArray[np.float64],
    ) -> None:
        """Set the containment between two successive agreements to 1 if the gap is about equally long in both books."""
        ends_a, ends_b = a.starts + a.lengths, b.starts + b.lengths
        for x, y, next_x, next_y in zip(found.first, found.second, found.first[1:], found.second[1:], strict=False):
            if not (1 < next_x - x <= self.max_gap and 1 <= next_y - y <= self.max_gap):
                continue
            gap_a, gap_b = a.starts[next_x] - ends_a[x], b.starts[next_y] - ends_b[y]
            if 2 * min(gap_a, gap_b) >= max(gap_a, gap_b):
                in_a[x + 1 : next_x] = 1
                in_b[y + 1 : next_y] = 1


def _equal_hashes(
    a: NDArray[np.uint32], b: NDArray[np.uint32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the pairs of samples with equal MinHashes in some column, and the share of equal columns."""
    columns = np.arange(_HASHES, dtype=np.uint64) << np.uint64(32)
    left, right = (columns + a).reshape(-1), (columns + b).reshape(-1)
    order = np.argsort(right, kind="stable")
    begins = np.searchsorted(right[order], left, "left")
    counts = np.minimum(np.searchsorted(right[order], left, "right") - begins, _MAX_EQUAL)
    owner = np.repeat(np.arange(len(left)), counts)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    partner = order[begins[owner] + within] // _HASHES
    codes, equal = np.unique(owner // _HASHES * len(b) + partner, return_counts=True)
    return codes // len(b), codes % len(b), equal / _HASHES


def _has_neighbor(x: int, y: int, pairs: set[tuple[int, int]]) -> bool:
    """Return whether the sample before or after x agrees with one next to y, or with y shifted by one."""
    return any((x + side, y + side + drift) in pairs for side in (-1, 1) for drift in (-1, 0, 1))


def _boundaries(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the starts of the samples, in words, and the end of the last one."""
    limit = np.uint64((1 << 64) // _MEAN_REST)
    likely = np.flatnonzero(shingles(hashes, 2) < limit) + 1
    boundaries = [0]
    while len(hashes) - boundaries[-1] > _MIN_WORDS:
        index = np.searchsorted(likely, boundaries[-1] + _MIN_WORDS)
        following = int(likely[index]) if index < len(likely) else len(hashes)
        boundaries.append(min(following, boundaries[-1] + _MAX_WORDS, len(hashes)))
    if boundaries[-1] < len(hashes):  # a short rest belongs to the sample before it
        boundaries = [*boundaries[:-1], len(hashes)] if len(boundaries) > 1 else [0, len(hashes)]
    return np.array(boundaries, np.int64)


def _minhashes(samples: list[NDArray[np.uint64]]) -> tuple[bytes, ...]:
    if not samples:
        return ()
    return tuple(
        np.asarray(row, "<u4").tobytes()
        for first in checked(range(0, len(samples), _BATCH), every=1)
        for row in _minhash_rows(samples[first : first + _BATCH])
    )


def _minhash_rows(samples: list[NDArray[np.uint64]]) -> list[list[int]]:
    offsets = np.cumsum([0, *map(len, samples)]).tolist()
    tokens = np.concatenate(samples)
    return rensa.RMinHash.digest_matrix_from_flat_token_hashes(tokens, offsets, _HASHES, _SEED).to_rows()


def _band_keys(hashes: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Return the keys [n, _BANDS] of MinHashes [n, _HASHES]."""
    bands = hashes[:, : _BANDS * _BAND].reshape(len(hashes), _BANDS, _BAND).astype(np.uint64)
    mixed = np.broadcast_to(np.arange(_BANDS, dtype=np.uint64), bands.shape[:2]).copy()
    for i in range(_BAND):
        mixed = mix(mixed * np.uint64(0x9E3779B97F4A7C15) + bands[:, :, i] + np.uint64(1))
    return mixed


def _matrix(signature: Signature) -> NDArray[np.uint32]:
    """Return the MinHashes [n, 64] of a signature."""
    return np.frombuffer(b"".join(signature.samples), "<u4").reshape(-1, _HASHES)


def _ranges(signature: Signature, chosen: NDArray[np.bool_]) -> tuple[Range, ...]:
    """Return the chosen samples [n] as ranges of characters; adjacent samples are joined."""
    steps = np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8))
    begins, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1) - 1
    stops = signature.starts + signature.lengths
    return tuple((float(signature.starts[i]), float(stops[j])) for i, j in zip(begins, ends, strict=True))
