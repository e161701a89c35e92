"""The loss of a baseline that copies the last frame.

A code is that of the same place in the last frame with the probability p of the place, and otherwise drawn from the
frequencies of all codes. p maximizes the likelihood of the split `train` (EM), and the frequencies are those of
`train`. The codes of a first frame have the frequencies only. The ids that end a frame cost this baseline nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import longreel
from schemas.vocab import VISION

_ROUNDS = 50  # of EM


def segments(dataset: Path, split: str) -> Iterator[NDArray[np.int64]]:
    """Yield the codes [T, P] of each run of frames in a dataset."""
    data = longreel.Dataset(dataset, split=split)
    vocabulary = data.card.vocabulary
    for number in range(len(data)):
        sequence = data[number]
        for span in sequence.spans:
            if span["modality"] == VISION:
                first = int(span["start"])
                ids = sequence.tokens[first : first + int(span["length"])].astype(np.int64) - vocabulary.text_size
                frames = int((ids >= vocabulary.eof - vocabulary.text_size).sum())
                yield ids.reshape(frames, -1)[:, :-1]


@dataclass(frozen=True)
class Copying:
    """The baseline: the probability of copying for each place [P], and of each code [V]."""

    copied: NDArray[np.float64]
    frequencies: NDArray[np.float64]

    @classmethod
    def fitted(cls, videos: list[NDArray[np.int64]], codes: int) -> Copying:
        """Return the baseline with the largest likelihood of the later frames of `videos`."""
        counts = sum((np.bincount(video.ravel(), minlength=codes) for video in videos), np.full(codes, 0.1))
        frequencies = counts / counts.sum()
        last = np.concatenate([video[:-1] for video in videos])
        now = np.concatenate([video[1:] for video in videos])
        p = np.full(now.shape[1], 0.5)
        for _ in range(_ROUNDS):
            copied = (last == now) * p
            p = (copied / (copied + (1 - p) * frequencies[now])).mean(0)
        return cls(p, frequencies)

    def nats(self, video: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the loss of each code [T, P]."""
        found = self.frequencies[video]
        found[1:] = (video[1:] == video[:-1]) * self.copied + (1 - self.copied) * found[1:]
        return -np.log(found)


def copy_losses(dataset: Path) -> dict[str, float]:
    """Return the loss of copying on `val`, and the share of codes there that are those of the last frame."""
    codes = longreel.Dataset(dataset).card.vocabulary.vision_size
    baseline = Copying.fitted(list(segments(dataset, "train")), codes)
    held_out = list(segments(dataset, "val"))
    nats, ids = sum(baseline.nats(video).sum() for video in held_out), sum(map(_ids, held_out))
    same = np.concatenate([(video[1:] == video[:-1]).ravel() for video in held_out])
    return {"copy": float(nats) / ids, "unchanged codes": float(same.mean())}


def _ids(video: NDArray[np.int64]) -> int:
    return video.shape[0] * (video.shape[1] + 1)  # with the one that ends the frame
