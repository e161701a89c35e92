"""How books are found alike: MinHash of passages, aligned passage by passage.

A book is cut into samples of about 1,000 words where two neighboring words have a small hash, so that line breaks,
paragraphs, quotes and prefaces of another edition move no border but those they touch. A sample is 64 MinHashes
(Broder 1997; rensa) of its runs of 5 words. Two samples agree in a share of them that is, on average, the share
of runs that they have in common (Jaccard).

Keys are 21 bands of 3: samples with a Jaccard of J share one with probability 1 - (1 - J^3)^21, which is .16 at .2,
.44 at .3, .75 at .4, .94 at .5; a novel of 100 samples gets a hundred such chances. Texts that have no more than a
language in common have a J of about .0005: of 10^8 samples a quarter of one shares a key with a given sample. Two
samples are taken for the same text from a Jaccard of 0.3 on, or from 0.12 where samples beside them match too, as in
bad OCR; a gap between two matches that is about as long in both is filled. Cost: 256 bytes a sample; a pair of novels
is compared in a few milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import rensa
from numpy.typing import NDArray

from pipeline.dedup.similarity import Range, Shared, Signature
from pipeline.text.words import Words, mix, shingles, split_words

VERSION = (1, rensa.RMinHash.ALGORITHM_VERSION)  # a change makes signatures anew
_RUN = 5
_HASHES, _BAND, _BANDS = 64, 3, 21
_SEED = 42
_FEWEST, _MOST, _MEAN_REST = 400, 2500, 600  # words of a sample
_MOST_EQUAL = 8  # samples of a book that agree in one hash and are looked at


def book_signature(text: str, content_id: str, words: Words | None = None) -> Signature:
    """Return the signature of a clean text; `words` are its words, where they are known already."""
    words = split_words(text) if words is None else words
    borders = _borders(words.hashes)
    runs = shingles(words.hashes, _RUN) if len(words.hashes) >= _RUN else words.hashes
    # A run belongs to the sample it begins in; the last sample takes those that begin past the last full one.
    offsets = np.minimum(borders, len(runs))
    keep = np.flatnonzero(np.diff(offsets))
    parts = [np.unique(runs[offsets[i] : offsets[i + 1]]) for i in keep]
    starts = np.append(words.starts, len(text))[borders[keep]] if len(keep) else np.zeros(0, np.int64)
    ends = np.append(starts[1:], len(text)) if len(keep) else starts
    return Signature(
        content_id=content_id,
        kind="book",
        starts=starts.astype(np.float64),
        lengths=(ends - starts).astype(np.float64),
        samples=_minhashes(parts),
    )


@dataclass(frozen=True, kw_only=True)
class BookSimilarity:
    """Finds books alike. The numbers are those of benchmarks/near_duplicates_books.py."""

    version: int = 1
    min_collisions: int = 1  # keys in common, for a comparison
    sufficient_collisions: int = 1
    alike: float = 0.3  # least Jaccard of two samples that are the same text
    faintly: float = 0.12  # the same where the samples beside them match too
    most_gap: int = 6  # samples between two matches that are taken for matching, too
    whole: float = 0.8  # share from which a sample counts as shared where ranges are named

    def scaled_to(self, items: int) -> BookSimilarity:
        """Return itself: passages of books are not alike by chance; see pipeline.dedup.similarity.Similarity."""
        return self

    def hash_keys(self, signature: Signature) -> NDArray[np.uint64]:
        """Return a key a band [n, 21]; see pipeline.dedup.similarity.Similarity."""
        hashes = _matrix(signature).astype(np.uint64)
        bands = hashes[:, : _BANDS * _BAND].reshape(len(hashes), _BANDS, _BAND)
        mixed = np.broadcast_to(np.arange(bands.shape[1], dtype=np.uint64), bands.shape[:2]).copy()
        for i in range(_BAND):
            mixed = mix(mixed * np.uint64(0x9E3779B97F4A7C15) + bands[:, :, i] + np.uint64(1))
        return mixed

    def compare(self, a: Signature, b: Signature) -> Shared | None:
        """Return which samples the books have in common; None where there is none."""
        first, second, alike = self._pairs(_matrix(a), _matrix(b))
        if not len(first):
            return None
        # A sample is covered by no more than those that match it are long: half of a short book is not the whole.
        in_a = np.minimum(1, np.bincount(first, b.lengths[second], len(a.samples)) / np.maximum(1, a.lengths))
        in_b = np.minimum(1, np.bincount(second, a.lengths[first], len(b.samples)) / np.maximum(1, b.lengths))
        weights = a.lengths[first]
        similarity = float(np.sum(alike * weights) / np.sum(weights))
        self._fill_gaps(first, second, a, b, in_a, in_b)
        return Shared(
            containment_a=float(np.sum(a.lengths * in_a) / a.lengths.sum()),
            containment_b=float(np.sum(b.lengths * in_b) / b.lengths.sum()),
            similarity=min(1.0, similarity),
            shared_a=_ranges(a, in_a >= self.whole),
            shared_b=_ranges(b, in_b >= self.whole),
        )

    def _pairs(
        self, a: NDArray[np.uint32], b: NDArray[np.uint32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Return the samples of a and of b that are the same text, and how alike they are, in the order of a."""
        columns = np.arange(_HASHES, dtype=np.uint64) << np.uint64(32)
        left, right = (columns + a).reshape(-1), (columns + b).reshape(-1)
        order = np.argsort(right, kind="stable")
        begins = np.searchsorted(right[order], left, "left")
        counts = np.minimum(np.searchsorted(right[order], left, "right") - begins, _MOST_EQUAL)
        owner = np.repeat(np.arange(len(left)), counts)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        mate = order[begins[owner] + within] // _HASHES
        codes, agreeing = np.unique(owner // _HASHES * len(b) + mate, return_counts=True)
        share = agreeing / _HASHES
        codes, share = codes[share >= self.faintly], share[share >= self.faintly]
        i, j = codes // len(b), codes % len(b)
        found = {(int(x), int(y)) for x, y in zip(i, j, strict=True)}
        beside = np.array(
            [any((x + s, y + s + d) in found for s in (-1, 1) for d in (-1, 0, 1)) for x, y in zip(i, j, strict=True)],
            np.bool_,
        )
        same = (share >= self.alike) | beside
        return i[same], j[same], share[same]

    def _fill_gaps(
        self,
        first: NDArray[np.int64],
        second: NDArray[np.int64],
        a: Signature,
        b: Signature,
        in_a: NDArray[np.float64],
        in_b: NDArray[np.float64],
    ) -> None:
        """Mark what lies between two matches that follow each other, where it is about as long in both books."""
        ends_a, ends_b = a.starts + a.lengths, b.starts + b.lengths
        for x, y, next_x, next_y in zip(first, second, first[1:], second[1:], strict=False):
            if not (1 < next_x - x <= self.most_gap and 1 <= next_y - y <= self.most_gap):
                continue
            gap_a, gap_b = a.starts[next_x] - ends_a[x], b.starts[next_y] - ends_b[y]
            if 2 * min(gap_a, gap_b) >= max(gap_a, gap_b):
                in_a[x + 1 : next_x] = 1
                in_b[y + 1 : next_y] = 1


def _borders(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return where samples begin, in words, and where the last ends."""
    limit = np.uint64((1 << 64) // _MEAN_REST)
    likely = np.flatnonzero(shingles(hashes, 2) < limit) + 1
    borders = [0]
    while len(hashes) - borders[-1] > _FEWEST:
        at = np.searchsorted(likely, borders[-1] + _FEWEST)
        following = int(likely[at]) if at < len(likely) else len(hashes)
        borders.append(min(following, borders[-1] + _MOST, len(hashes)))
    if borders[-1] < len(hashes):  # a short rest belongs to the sample before it
        borders = [*borders[:-1], len(hashes)] if len(borders) > 1 else [0, len(hashes)]
    return np.array(borders, np.int64)


def _minhashes(parts: list[NDArray[np.uint64]]) -> tuple[bytes, ...]:
    if not parts:
        return ()
    offsets = np.cumsum([0, *map(len, parts)]).tolist()
    rows = rensa.RMinHash.digest_matrix_from_flat_token_hashes(np.concatenate(parts), offsets, _HASHES, _SEED).to_rows()
    return tuple(np.asarray(row, "<u4").tobytes() for row in rows)


def _matrix(signature: Signature) -> NDArray[np.uint32]:
    return np.frombuffer(b"".join(signature.samples), "<u4").reshape(-1, _HASHES)


def _ranges(signature: Signature, chosen: NDArray[np.bool_]) -> tuple[Range, ...]:
    """Return the chosen samples as ranges; neighbors are joined."""
    steps = np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8))
    begins, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1) - 1
    return tuple(
        (float(signature.starts[i]), float(signature.starts[j] + signature.lengths[j]))
        for i, j in zip(begins, ends, strict=True)
    )
