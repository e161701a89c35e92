from __future__ import annotations

import numpy as np
import pytest

from tests.support.vqgan.tiny_vqgan import tiny_weights
from tokenizer.codec import FrameCodec
from tokenizer.evaluation.clip_features import clip_features, color, motion


def test_color_is_the_mean_and_the_deviation_of_each_channel() -> None:
    frames = np.zeros((3, 4, 4, 3), np.uint8)
    frames[..., 0], frames[:, :2, :, 1] = 255, 255
    assert color(frames) == pytest.approx([1, 0.5, 0, 0, 0.5, 0])


def test_motion_is_0_for_a_still_and_grows_with_change() -> None:
    still = np.full((4, 4, 4, 3), 90, np.uint8)
    assert motion(still) == pytest.approx([0, 0, 0, 0])
    fading = still + np.arange(0, 204, 51, dtype=np.uint8)[:, None, None, None] // np.uint8(2)
    assert motion(fading)[[0, 2, 3]] == pytest.approx([0.1, 1 / 3, 0.005], abs=0.01)
    blinking = still.copy()
    blinking[1::2, :2] = 192
    assert motion(blinking) == pytest.approx([0.2, 0, 0.5, 0.4])


@pytest.mark.slow
def test_latents_are_means_over_cells_and_frames_and_do_not_depend_on_batches() -> None:
    codec = FrameCodec(tiny_weights(), batch=2)
    frames = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
    found = clip_features(frames, codec)["latents"]
    each = np.concatenate([codec.mean_latents(frame[None]) for frame in frames])
    assert found == pytest.approx(each.mean(0), abs=1e-5)
    assert found.shape == (codec.config.latent_dim,)
