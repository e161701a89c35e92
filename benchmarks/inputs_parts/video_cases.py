"""Cases of videos and pictures: streams, alpha, bars, kinds, promises."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from inputs_parts.case import (
    Case,
    all_of,
    duplicate_of,
    facts,
    kept,
    measure,
    promised_what_it_has,
    rejected,
    uncropped,
)
from inputs_parts.media import SIZE, Picture, animation, clip, picture, texture
from tests.support.inputs.media import make_video
from tests.support.inputs.streams import StreamSpec, make_streams
from tests.support.inputs.tiffs import packed_12_bits, ramp, write_tiff
from tests.support.inputs.transparent import make_transparent

BRIGHT = measure("brightness", 60)
WHITE = measure("brightness", 130)  # a third is black


def _streams(folder: Path) -> None:
    for name, sizes in (("small_first.mp4", ((64, 48), SIZE)), ("large_first.mkv", (SIZE, (64, 48)))):
        make_streams(folder / name, [StreamSpec(size, first=3 * n) for n, size in enumerate(sizes)])
    cover = StreamSpec((640, 480), frames=1, codec="mjpeg", disposition=1024)  # type: ignore[arg-type]
    make_streams(folder / "cover.mkv", [StreamSpec(SIZE, first=500), cover])


def _sprite(seed: int) -> Callable[[int], Picture]:
    """Return pictures of black shapes that move on a transparent background, uint8 RGBA."""
    shapes = np.random.default_rng(seed).random((8, 24)) < 0.35

    def draw(moment: int) -> Picture:
        rgba = np.zeros((64, 96, 4), np.uint8)
        rgba[..., 3] = 255 * np.roll(shapes.repeat(8, 0).repeat(8, 1), -3 * moment, 1)[:, :96]
        return rgba

    return draw


def _alpha(folder: Path) -> None:
    options = {"deadline": "realtime", "cpu-used": "8"}
    for seed, (name, codec, pix_fmt, more) in enumerate(
        (
            ("vp9.webm", "libvpx-vp9", "yuva420p", options),
            ("vp8.webm", "libvpx", "yuva420p", {"auto-alt-ref": "0"}),
            ("prores.mov", "prores_ks", "yuva444p10le", {}),
            ("animation.mov", "qtrle", "argb", {}),
        )
    ):
        make_transparent(folder / name, codec, pix_fmt, frames=20, options=more, draw=_sprite(9600 + seed))
    Image.fromarray(_sprite(9610)(0)).save(folder / "a.png")
    for seed, name in enumerate(("a.webp", "a.gif", "a.apng")):
        frames = [Image.fromarray(_sprite(9620 + seed)(n)) for n in range(6)]
        more = {"format": "PNG"} if name == "a.apng" else {"lossless": True, "disposal": 2}
        frames[0].save(folder / name, save_all=True, append_images=frames[1:], duration=250, **more)


def _kinds(folder: Path) -> None:
    for ending in ("gif", "webp", "png", "avif"):
        animation(folder / f"still.{ending}", frames=1)
        animation(folder / f"moving.{ending}", frames=6)
    clip(folder / "video.jpg", format="mp4")
    picture(folder / "picture.mp4", format="JPEG")
    picture(folder / "icon.ico", sizes=[(128, 96)])
    pages = [Image.fromarray(texture(9000 + n)) for n in range(3)]
    pages[0].save(folder / "pages.tif", save_all=True, append_images=pages[1:])


def _samples(folder: Path) -> None:
    Image.fromarray((texture(9100).mean(2) / 255).astype(np.float32)).save(folder / "float.tif")
    Image.fromarray((texture(9104).mean(2) * 257).astype(np.uint16)).save(folder / "deep.png")
    write_tiff(folder / "twelve.tif", packed_12_bits(ramp(96, 128)), bits=12, size=(128, 96))
    Image.fromarray(texture(9101)).convert("CMYK").save(folder / "cmyk.tif")
    nan = texture(9102).mean(2).astype(np.float32) * 3
    nan[:8] = np.nan
    Image.fromarray(nan).save(folder / "nan.tif")
    image = Image.fromarray(texture(9103))
    exif = image.getexif()
    exif[274] = 6
    image.save(folder / "turned.tif", exif=exif)


def _lit(seed: int, *, left: int = 0, right: int = 0, top: int = 0, bottom: int = 0) -> Callable[[int], Picture]:
    def draw(moment: int) -> Picture:
        frame = texture(seed, moment)
        frame[:, :left] = frame[:, SIZE[0] - right :] = frame[:top] = frame[SIZE[1] - bottom :] = 0
        return frame

    return draw


def _bars(folder: Path) -> None:
    clip(folder / "stage_left.mp4", picture=_lit(9200, left=64))
    clip(folder / "stage_right.mp4", picture=_lit(9201, right=48))
    clip(folder / "stage_top.mp4", picture=_lit(9202, top=40))
    clip(folder / "letterbox.mp4", picture=_lit(9203, top=16, bottom=16))
    clip(folder / "pillarbox.mp4", picture=_lit(9204, left=16, right=16))


_PROMISING = ("a.h264", "a.hevc", "a.mpg", "a.ts", "audio.flv", "audio.wmv", "no_index.avi", "fragments.mp4")


def _promises(folder: Path) -> None:
    for name, codec in (("a.h264", "libx264"), ("a.hevc", "libx265")):
        clip(folder / name, codec=codec, format=name[2:])
    make_video(folder / "a.mpg", codec="mpeg2video", frames=50, picture=lambda i: texture(9300, i), size=SIZE)
    clip(folder / "a.ts")
    clip(folder / "audio.flv", audio_s=9.0)
    clip(folder / "audio.wmv", codec="wmv2", audio_s=9.0)
    clip(folder / "no_index.avi", codec="mpeg4")
    content = (folder / "no_index.avi").read_bytes()
    (folder / "no_index.avi").write_bytes(content[: content.rindex(b"idx1")])
    clip(folder / "fragments.mp4", container_options={"movflags": "frag_keyframe+empty_moov"})


def _long(folder: Path) -> None:
    """Write two encodings of an interview of 200 s: little moves, and key frames lie elsewhere."""
    still, face = texture(9700, 0, (192, 108)), texture(9701, 0, (24, 24))

    def at(second: float) -> Picture:
        frame = still.copy()
        left, top = 80 + round(8 * np.sin(second)), 40 + round(5 * np.sin(second / 3))
        frame[top : top + 24, left : left + 24] = face
        return frame

    for name, rate, options in (("one.mp4", 8, {"g": "40", "crf": "20"}), ("other.mp4", 10, {"g": "73", "crf": "28"})):
        make_video(
            folder / name,
            frames=200 * rate,
            rate=rate,
            size=(192, 108),
            picture=lambda i, rate=rate: at(i / rate + 0.08 * (rate > 8)),  # type: ignore[misc]
            options=options,
        )


def _names(folder: Path) -> None:
    made = clip(folder / "made.mp4")
    for name in (b"caf\xe9.mp4", b"caf\xe8.mp4"):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(made.read_bytes())
    made.unlink()


def _flipped(folder: Path) -> None:
    options: dict[str, Any] = {"seconds": 8, "size": (192, 108)}
    clip(folder / "plain.mp4", seed=9400, **options)
    clip(folder / "flipped.mp4", picture=lambda i: texture(9400, i, (192, 108))[:, ::-1].copy(), **options)


def _is(kind: str) -> Any:
    return all_of(kept, facts(kind=kind))


CASES = (
    Case(
        "10 several video streams",
        _streams,
        {name: facts(width=128, height=96) for name in ("small_first.mp4", "large_first.mkv", "cover.mkv")},
    ),
    Case(
        "alpha over white",
        _alpha,
        dict.fromkeys(("vp9.webm", "vp8.webm", "prores.mov", "animation.mov"), WHITE)
        | dict.fromkeys(("a.png", "a.webp", "a.gif", "a.apng"), WHITE),
    ),
    Case(
        "kinds by content",
        _kinds,
        {f"still.{ending}": _is("image") for ending in ("gif", "webp", "png", "avif")}
        | {f"moving.{ending}": _is("video") for ending in ("gif", "webp", "png", "avif")}
        | {"video.jpg": _is("video"), "picture.mp4": _is("image"), "icon.ico": _is("image"), "pages.tif": _is("image")},
    ),
    Case(
        "sample formats",
        _samples,
        dict.fromkeys(("float.tif", "deep.png", "twelve.tif", "cmyk.tif", "nan.tif"), BRIGHT)
        | {"turned.tif": facts(width=96, height=128)},
    ),
    Case(
        "dark sides and bars",
        _bars,
        {f"stage_{side}.mp4": uncropped for side in ("left", "right", "top")}
        | {"letterbox.mp4": facts(crop=(0, 16, 128, 64)), "pillarbox.mp4": facts(crop=(16, 0, 96, 96))},
    ),
    Case(
        "promised frames",
        _promises,
        dict.fromkeys(_PROMISING, promised_what_it_has),
    ),
    Case(
        "file names that are not UTF-8",
        _names,
        {name: rejected("bad_name") for name in ("caf%E9.mp4", "caf%E8.mp4")},
    ),
    Case("long re-encoding", _long, {"one.mp4": duplicate_of("other.mp4")}),
    Case("flipped copy", _flipped, {"plain.mp4": duplicate_of("flipped.mp4")}),
)
