from __future__ import annotations

import numpy as np
import pytest

from schemas.errors import InputError
from tests.support.vqgan.tiny_vqgan import moving_disc, tiny_weights
from tokenizer.codec import FrameCodec
from tokenizer.evaluation.evaluate import (
    Clip,
    compare,
    flicker,
    jackknife,
    measure,
    psnr,
    reconstruct,
    runs_of,
    ssim,
    summarize,
)
from tokenizer.evaluation.image_codecs import compress_frames

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tiny() -> FrameCodec:
    return FrameCodec(tiny_weights())


def test_psnr_of_a_constant_error_equals_the_formula() -> None:
    a = np.full((2, 8, 8, 3), 100, np.uint8)
    np.testing.assert_allclose(psnr(a, a + 10), 20 * np.log10(255 / 10))
    np.testing.assert_array_equal(psnr(a, a), [100.0, 100.0])


def test_ssim_equals_a_slow_loop_over_windows() -> None:
    a, b = moving_disc(1, height=12, width=14), moving_disc(2, height=12, width=14)[1:]
    values = []
    for i in range(12 - 7):
        for j in range(14 - 7):
            for c in range(3):
                x, y = (p[0, i : i + 8, j : j + 8, c].astype(np.float64).ravel() for p in (a, b))
                c1, c2 = 2.55**2, 7.65**2
                covariance = ((x - x.mean()) * (y - y.mean())).mean()
                values.append((2 * x.mean() * y.mean() + c1) / (x.mean() ** 2 + y.mean() ** 2 + c1))
                values[-1] *= (2 * covariance + c2) / (x.var() + y.var() + c2)
    np.testing.assert_allclose(ssim(a, b), [np.mean(values)], rtol=1e-9)
    np.testing.assert_allclose(ssim(a, a), [1.0])


def test_flicker_is_the_change_of_the_error_not_of_the_frame() -> None:
    frames = moving_disc(4, height=16, width=16)
    assert flicker(frames, np.clip(frames, 0, 245) + np.uint8(10)).max() < 10
    steady = frames // 2  # so that adding 10 does not overflow
    np.testing.assert_array_equal(flicker(steady, steady + 10), [0.0, 0.0, 0.0])
    alternating = steady + np.array([0, 10, 0, 10], np.uint8)[:, None, None, None]
    np.testing.assert_allclose(flicker(steady, alternating), 10.0)


def test_a_summary_combines_all_clips(tiny: FrameCodec) -> None:
    frames = [moving_disc(2, height=16, width=16), moving_disc(3, height=8, width=24)]
    clips = [measure(given, reconstruct(tiny, given)) for given in frames]
    whole = summarize([[clip] for clip in clips], codebook_size=32)
    codes = np.concatenate([tiny.encode(given).ravel() for given in frames])
    assert whole.frames == 5
    assert whole.tokens["utilization"].value == len(np.unique(codes)) / 32
    assert 1 <= whole.tokens["perplexity"].value <= len(np.unique(codes))
    each = [summarize([[clip]], codebook_size=32).tokens["psnr"] for clip in clips]
    assert whole.tokens["psnr"].value == pytest.approx((2 * each[0].value + 3 * each[1].value) / 5)
    assert each[0].low is None  # one part has no interval
    assert whole.tokens["psnr"].low is not None


def test_a_single_frame_has_no_flicker_and_no_frames_are_an_input_error(tiny: FrameCodec) -> None:
    one, two = moving_disc(1, height=16, width=16), moving_disc(2, height=16, width=16)
    score = summarize([[measure(one, reconstruct(tiny, one, baselines=("webp",)))]], codebook_size=32)
    assert "flicker" not in score.tokens | score.baselines["webp"]
    assert "flicker" in summarize([[measure(two, reconstruct(tiny, two))]], codebook_size=32).tokens
    with pytest.raises(InputError, match="no frame"):
        summarize([], codebook_size=32)


def test_the_jackknife_interval_of_a_mean_is_that_of_students_t() -> None:
    values = [1.0, 2.0, 4.0, 7.0]
    found = jackknife(values, lambda given: float(np.mean(given)))
    half = 3.182446 * np.std(values, ddof=1) / 2  # t of 3 degrees of freedom, from a table
    assert (found.low, found.high) == (pytest.approx(3.5 - half, rel=1e-6), pytest.approx(3.5 + half, rel=1e-6))


def test_the_runs_of_a_video_contain_all_clips_in_order() -> None:
    clips = [Clip(np.full((1, 1), i), {}) for i in range(23)]
    runs = runs_of(clips)
    assert [int(clip.codes[0, 0]) for run in runs for clip in run] == list(range(23))
    assert len(runs) == 10
    assert {len(run) for run in runs} <= {2, 3}
    assert [len(run) for run in runs_of(clips[:3])] == [1, 1, 1]


def test_baselines_have_the_same_measures_as_the_tokenizer(tiny: FrameCodec) -> None:
    frames = moving_disc(3, height=16, width=16)
    clip = measure(frames, reconstruct(tiny, frames, baselines=("jpeg",)))
    budget = 16 // 2 * 16 // 2 * 5 // 8
    np.testing.assert_array_equal(
        clip.measures["jpeg"]["psnr"], compare(frames, compress_frames("jpeg", frames, budget))["psnr"]
    )
    assert clip.measures["tokens"].keys() == clip.measures["jpeg"].keys()
