"""What a look at real files finds: the measures on videos that are made to have them, and on others."""

from __future__ import annotations

import io
import resource
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.video.decoder import AnalysisConfig, DecodeConfig, Decoder, VideoStats
from schemas.errors import InputError, Reason, StorageError
from tests.pipeline.video.analysis.test_packets import remux
from tests.support.media import make_video, numbered, quadrant_names, quadrants, read_number

Picture = NDArray[np.uint8]
SIZE = (320, 180)
RNG = np.random.default_rng(0)
TEXTURE = RNG.integers(0, 256, (60, 200, 3), np.uint8).repeat(6, 0).repeat(6, 1)
LONG = {"g": "30", "sc_threshold": "0", "crf": "23"}  # a key frame in three seconds, at 10 frames a second


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(DecodeConfig()) as decoder:
        yield decoder


def moving(step: int) -> Callable[[int], Picture]:
    return lambda i: np.ascontiguousarray(TEXTURE[90:270, step * i % 800 : step * i % 800 + 320])


def video(path: Path, picture: Callable[[int], Picture], frames: int = 50, **more: object) -> Path:
    return make_video(path, size=SIZE, frames=frames, picture=picture, **more)  # type: ignore[arg-type]


def numbers(look: VideoStats) -> list[int]:
    """The numbers of the frames that were kept, from their middle squares."""
    height, width = look.frames.shape[1:3]
    side, top, left = min(height, width), max(0, height - width) // 2, max(0, width - height) // 2
    return [read_number(f[top : top + side, left : left + side]) for f in look.frames]


def test_a_short_video_is_looked_at_twice_a_second(decoder: Decoder, tmp_path: Path) -> None:
    look = decoder.analyze(make_video(tmp_path / "a.mp4", frames=75, start=20), AnalysisConfig(frames=True))
    assert look.times_s == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5], abs=0.03)
    assert look.durations_s.sum() == pytest.approx(3)
    assert numbers(look) == pytest.approx([12, 25, 37, 62], abs=1)  # those that follow the middles of five parts
    assert look.measures["sampled_frames"] == len(look.signatures) == 6
    assert look.measures["found_share"] == pytest.approx(1, abs=0.001)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_of_a_long_video_key_frames_are_looked_at(decoder: Decoder, tmp_path: Path, name: str) -> None:
    path = make_video(tmp_path / name, frames=640, rate=10, options=LONG)
    look = decoder.analyze(path, AnalysisConfig(frames=True))
    assert [s for s in look.times_s if s % 3 < 0.1 or s % 3 > 2.9] == pytest.approx(range(0, 64, 3), abs=0.1)
    pairs = [s for s in look.times_s if 0.1 < s % 3 < 2.9]
    assert pairs == pytest.approx([0.5, 30.5, 60.5], abs=0.16)
    assert numbers(look) == pytest.approx([90, 210, 330, 450, 570], abs=31)
    assert look.durations_s.sum() == pytest.approx(64, abs=0.1)
    whole = decoder.analyze(path, AnalysisConfig(decode_below_s=100))  # 22 looks are enough: the same again
    assert whole.signatures == look.signatures
    assert whole.frames.shape == (0, 256, 384, 3)


def test_key_frames_that_come_fast_are_passed_over(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", frames=400, rate=10, options={"g": "3", "bf": "0"})
    gaps = np.diff([s for s in decoder.analyze(path).times_s if not 0.4 < s % 30 < 0.8])
    assert gaps.min() > 1.7
    assert gaps.max() < 2.3


def test_a_long_video_with_one_key_frame_is_decoded_whole(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=100 * 5, rate=5, options={"g": "9999", "sc_threshold": "0"})
    look = decoder.analyze(path)
    assert look.measures["sampled_frames"] == pytest.approx(50 + 4, abs=1)
    assert np.diff(look.times_s).max() < 2.3


def test_the_same_file_gives_the_same_look_and_a_remux_the_same_samples(decoder: Decoder, tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", moving(4))
    one, other = decoder.analyze(path), decoder.analyze(path)
    assert (one.signatures, one.measures, one.thumbnail) == (other.signatures, other.measures, other.thumbnail)
    again = decoder.analyze(remux(path, tmp_path / "a.mkv"))
    assert (again.content_id, again.signatures, again.crop) == (one.content_id, one.signatures, one.crop)
    assert decoder.analyze(video(tmp_path / "b.mp4", moving(8))).content_id != one.content_id


def test_brightness_and_black_stretches(decoder: Decoder, tmp_path: Path) -> None:
    dark = np.zeros((180, 320, 3), np.uint8)
    half = decoder.analyze(video(tmp_path / "half.mp4", lambda i: dark if i < 50 else moving(2)(i), 100)).measures
    assert half["black_share"] == pytest.approx(0.5, abs=0.01)
    assert half["brightness"] == pytest.approx(TEXTURE.mean(), abs=10)
    black = decoder.analyze(video(tmp_path / "black.mp4", lambda i: dark)).measures
    assert (black["black_share"], black["brightness"]) == (1, pytest.approx(0, abs=1))
    assert decoder.analyze(video(tmp_path / "bright.mp4", moving(2))).measures["black_share"] == 0


def test_frozen_still_and_motion(decoder: Decoder, tmp_path: Path) -> None:
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


def test_motion_does_not_depend_on_how_often_key_frames_come(decoder: Decoder, tmp_path: Path) -> None:
    found = []
    for gop in ("10", "100"):
        path = video(
            tmp_path / f"{gop}.mp4", moving(3), 340, rate=10, options={**LONG, "g": gop, "preset": "ultrafast"}
        )
        found.append(decoder.analyze(path))
    assert [look.measures["sampled_frames"] for look in found] == [pytest.approx(19, abs=1), 68]
    assert found[0].measures["motion"] == pytest.approx(found[1].measures["motion"], rel=0.15)


def test_bars_are_cropped_as_the_picture_is_shown(decoder: Decoder, tmp_path: Path) -> None:
    def barred(i: int) -> Picture:
        page = np.zeros((180, 320, 3), np.uint8)
        page[22:158] = moving(4)(i)[:136]
        if i > 10:
            page[164:172, 60:260] = 230  # a subtitle
        return page

    look = decoder.analyze(video(tmp_path / "a.mp4", barred))
    assert look.crop == pytest.approx((0, 22, 320, 136), abs=1)
    assert look.measures["picture_share"] == pytest.approx(136 / 180, abs=0.01)
    whole = decoder.analyze(video(tmp_path / "b.mp4", moving(4)))
    assert (whole.crop, whole.measures["picture_share"]) == ((0, 0, 320, 180), 1)
    turned = decoder.analyze(video(tmp_path / "c.mp4", barred, rotation=90))
    assert turned.crop == pytest.approx((22, 0, 136, 320), abs=1)
    wide = decoder.analyze(video(tmp_path / "d.mp4", barred, sar=Fraction(2)))
    assert wide.crop == pytest.approx((0, 22, 640, 136), abs=1)


def test_sharpness_and_blockiness_follow_what_was_done_to_a_picture(decoder: Decoder, tmp_path: Path) -> None:
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


def test_combs_are_seen_in_the_picture_itself(decoder: Decoder, tmp_path: Path) -> None:
    def woven(i: int) -> Picture:
        page = moving(6)(2 * i).copy()
        page[1::2] = moving(6)(2 * i + 1)[1::2]
        return page

    assert decoder.analyze(video(tmp_path / "a.mp4", woven, 100, interlaced=True)).measures["combing"] == 1
    assert decoder.analyze(video(tmp_path / "b.mp4", moving(6), 100, interlaced=True)).measures["combing"] == 0


def test_less_than_was_promised_is_told(decoder: Decoder, tmp_path: Path) -> None:
    whole = video(tmp_path / "a.mkv", moving(4), 100)
    data = whole.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    look = decoder.analyze(tmp_path / "cut.mkv")
    assert 0.1 < look.measures["found_share"] < 0.9
    assert look.measures["found_share"] == pytest.approx(look.durations_s.sum() / 4, abs=0.03)
    other = decoder.analyze(whole)
    assert other.measures["found_share"] == 1
    assert other.measures["bit_rate"] == pytest.approx(8 * len(data) / 4, rel=0.05)
    assert look.content_id != other.content_id


def test_the_strip_shows_frames_turned_and_whole(decoder: Decoder, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", size=(96, 64), frames=100, rotation=90, picture=lambda i: quadrants((96, 64)))
    look = decoder.analyze(path, AnalysisConfig(thumbnails=3, frames=True))
    strip = np.asarray(Image.open(io.BytesIO(look.thumbnail)).convert("RGB"))
    assert strip.shape == (96, 3 * 64, 3)
    assert look.frames.shape == (3, 384, 256, 3)
    assert {quadrant_names(strip[16:80, k * 64 : k * 64 + 64]) for k in range(3)} == {
        quadrant_names(look.frames[0, 64:320])
    }


def test_a_full_disk_is_no_fault_of_the_video(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=350, rate=10, options={"g": "999", "sc_threshold": "0"})
    others = set(psutil.Process().children())
    with Decoder(DecodeConfig()) as decoder:
        before = decoder.analyze(path)
        (child,) = set(psutil.Process().children()) - others
        limits = resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        with pytest.raises(StorageError, match="cannot write"):
            decoder.analyze(path)
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, limits)
        assert decoder.analyze(path).signatures == before.signatures


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv444p", "gray", "bgr0"])
def test_luma_is_read_from_any_kind_of_frame(decoder: Decoder, tmp_path: Path, pix_fmt: str) -> None:
    codec = "ffv1" if pix_fmt in ("gray", "bgr0") else "libx264"
    plain = decoder.analyze(video(tmp_path / "plain.mkv", moving(4), codec="ffv1"))
    look = decoder.analyze(video(tmp_path / "a.mkv", moving(4), codec=codec, pix_fmt=pix_fmt, color_range=0))
    assert look.measures["brightness"] == pytest.approx(plain.measures["brightness"], abs=3)
    apart = np.abs(np.array([[*s] for s in look.signatures], float) - np.array([[*s] for s in plain.signatures], float))
    assert apart.mean() < 4


def test_a_picture_and_an_animation(decoder: Decoder, tmp_path: Path) -> None:
    Image.fromarray(moving(1)(0)).save(tmp_path / "a.png")
    still = decoder.analyze(tmp_path / "a.png")
    assert (still.content_id, still.times_s.tolist(), still.durations_s.tolist(), len(still.signatures)) == (
        None,
        [0],
        [1],
        1,
    )
    assert set(still.measures) == {
        "brightness",
        "sharpness",
        "blockiness",
        "combing",
        "picture_share",
        "sampled_frames",
    }
    frames = [Image.fromarray(numbered(n, (64, 64))) for n in (1, 2, 4)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[1000, 700, 600])
    moves = decoder.analyze(tmp_path / "a.gif", AnalysisConfig(frames=True))
    assert moves.times_s.tolist() == pytest.approx([0, 1, 1.7])
    assert numbers(moves)[-1] == 4
    assert moves.measures["frozen_share"] == 0


def test_a_clock_that_claims_centuries_is_refused(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", pts=[0, 1, 2, 60_000], rate=25, time_base=Fraction(1), frames=4)
    with Decoder(DecodeConfig()) as decoder, pytest.raises(InputError, match="duration_limit_s") as e:
        decoder.analyze(path)
    assert e.value.reason is Reason.TOO_LONG
