"""TransNetV2's windows and shot starts, with a predictor that knows the cuts."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.video.shots.transnet import TransNetDetector


@pytest.mark.parametrize("count", [1, 49, 50, 51, 130, 250])
def test_every_frame_is_predicted_once_in_the_windows_of_the_authors(count: int) -> None:
    asked: list[NDArray[np.uint8]] = []

    def predict(window: NDArray[np.uint8]) -> NDArray[np.float32]:
        asked.append(window[:, 0, 0, 0])
        return np.isin(window[:, 0, 0, 0], [59, 120, 121]).astype(np.float32)

    detector = TransNetDetector(predict)
    for i in range(count):
        detector.add(np.full((27, 48, 3), i, np.uint8), i / 25)
    starts = detector.starts()
    numbers = np.arange(count)
    ends = 25 + 50 - (count % 50 or 50)
    padded = np.concatenate([np.repeat(numbers[:1], 25), numbers, np.repeat(numbers[-1:], ends)])
    expected = [padded[at : at + 100] for at in range(0, len(padded) - 99, 50)]
    assert np.array_equal(asked, np.array(expected, np.uint8))
    # A cut is predicted at the last frame of the old shot; the frame after a transition starts the new one.
    assert starts == [0.0, *(n / 25 for n in (60, 122) if n < count)]
