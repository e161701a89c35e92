"""The measures of videos that are made to have them, and of others."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.video.analysis.summary import FrameSummary
from pipeline.video.analysis.types import AnalysisConfig
from pipeline.video.decoder import Decoder
from tests.support.inputs.moving_video import LONG, SIZE, TEXTURE, Picture, moving, video

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as decoder:
        yield decoder


def test_brightness_and_black_share(decoder: Decoder, tmp_path: Path) -> None:
    dark = np.zeros((180, 320, 3), np.uint8)
    half = decoder.analyze(video(tmp_path / "half.mp4", lambda i: dark if i < 50 else moving(2)(i), 100)).measures
    assert half["black_share"] == pytest.approx(0.5, abs=0.01)
    assert half["brightness"] == pytest.approx(TEXTURE.mean(), abs=10)
    black = decoder.analyze(video(tmp_path / "black.mp4", lambda i: dark)).measures
    assert (black["black_share"], black["brightness"]) == (1, pytest.approx(0, abs=1))
    assert decoder.analyze(video(tmp_path / "bright.mp4", moving(2))).measures["black_share"] == 0


def test_frozen_share_still_share_and_motion(decoder: Decoder, tmp_path: Path) -> None:
    def slides(i: int) -> Picture:
        page = np.roll(TEXTURE, 70 * (i // 75), 1)[:180, :320].copy()
        page[100 + i // 10 : 104 + i // 10, 50:54] = 255  # a pointer
        return page

    found = {
        name: decoder.analyze(video(tmp_path / f"{name}.mp4", picture, 150, options={"crf": "28"})).measures
        for name, picture in (
            ("frozen", lambda i: moving(0)(i)),
            ("slides", slides),
            ("slow", moving(1)),
            ("fast", moving(5)),
        )
    }
    assert found["frozen"]["frozen_share"] == found["frozen"]["still_share"] == 1
    assert found["frozen"]["motion"] < 0.5
    assert found["slides"]["still_share"] == pytest.approx(11 / 12, abs=0.05)
    assert found["slides"]["frozen_share"] < 0.5
    for name in ("slow", "fast"):
        assert found[name]["frozen_share"] == found[name]["still_share"] == 0
    assert found["slow"]["motion"] > 20


def test_motion_does_not_depend_on_the_key_frame_interval(decoder: Decoder, tmp_path: Path) -> None:
    found = []
    for gop in ("10", "100"):
        path = video(
            tmp_path / f"{gop}.mp4", moving(3), 340, rate=10, options={**LONG, "g": gop, "preset": "ultrafast"}
        )
        found.append(decoder.analyze(path))
    assert [stats.measures["sampled_frames"] for stats in found] == [pytest.approx(20, abs=1), 136]
    assert found[0].measures["motion"] == pytest.approx(found[1].measures["motion"], rel=0.15)


def test_crop_without_bars_is_in_displayed_pixels(decoder: Decoder, tmp_path: Path) -> None:
    def barred(i: int) -> Picture:
        page = np.zeros((180, 320, 3), np.uint8)
        page[22:158] = moving(4)(i)[:136]
        if i > 10:
            page[164:172, 60:260] = 230  # a subtitle
        return page

    stats = decoder.analyze(video(tmp_path / "a.mp4", barred))
    assert stats.crop == pytest.approx((0, 22, 320, 136), abs=1)
    assert stats.measures["picture_share"] == pytest.approx(136 / 180, abs=0.01)
    whole = decoder.analyze(video(tmp_path / "b.mp4", moving(4)))
    assert (whole.crop, whole.measures["picture_share"]) == ((0, 0, 320, 180), 1)
    turned = decoder.analyze(video(tmp_path / "c.mp4", barred, rotation=90))
    assert turned.crop == pytest.approx((22, 0, 136, 320), abs=1)
    wide = decoder.analyze(video(tmp_path / "d.mp4", barred, sar=Fraction(2)))
    assert wide.crop == pytest.approx((0, 22, 640, 136), abs=1)


def test_blurring_lowers_sharpness_and_compression_raises_blockiness(decoder: Decoder, tmp_path: Path) -> None:
    def soft(i: int) -> Picture:
        small = Image.fromarray(moving(2)(i)).resize((45, 25), Image.Resampling.BOX)
        return np.asarray(small.resize(SIZE, Image.Resampling.BICUBIC))

    sharp = decoder.analyze(video(tmp_path / "sharp.mp4", moving(2))).measures
    blurred = decoder.analyze(video(tmp_path / "soft.mp4", soft)).measures
    assert sharp["sharpness"] > 20 * blurred["sharpness"]
    fine = decoder.analyze(
        video(tmp_path / "fine.avi", soft, codec="mpeg4", options={"qmin": "2", "qmax": "2"})
    ).measures
    coarse = decoder.analyze(
        video(tmp_path / "coarse.avi", soft, codec="mpeg4", options={"qmin": "31", "qmax": "31"})
    ).measures
    assert coarse["blockiness"] > 1.5 > 1.3 > fine["blockiness"]


def test_combing_is_measured_in_the_picture_not_read_from_flags(decoder: Decoder, tmp_path: Path) -> None:
    def woven(i: int) -> Picture:
        page = moving(6)(2 * i).copy()
        page[1::2] = moving(6)(2 * i + 1)[1::2]
        return page

    assert decoder.analyze(video(tmp_path / "a.mp4", woven, 100, interlaced=True)).measures["combing"] == 1
    assert decoder.analyze(video(tmp_path / "b.mp4", moving(6), 100, interlaced=True)).measures["combing"] == 0


def test_summary_without_frames_is_an_error(decoder: Decoder, tmp_path: Path) -> None:
    info = decoder.probe(video(tmp_path / "a.mp4", moving(1), 2))
    with FrameSummary(info, AnalysisConfig()) as summary, pytest.raises(ValueError, match="without sampled frames"):
        summary.stats(1.0)
