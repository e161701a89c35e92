"""Small videos, made with PyAV where a test needs them: each frame carries its own number in black and white blocks.

`make_video` writes one file with what a test asks for (codec, variable frame rate, start offset, rotation, pixel
shape, color tags, interlacing, subtitles, audio); `read_number` reads the number back from a decoded frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Picture = Callable[[int], NDArray[np.uint8]]
Cue = tuple[float, float, str]

_BITS = 12  # a number is 12 blocks in 3 rows of 4, in the middle square of the frame
_ROWS, _COLUMNS = 3, 4


def numbered(number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A gray picture uint8 [height, width, 3] with `number` (below 4096) in blocks across its center square."""
    width, height = size
    picture = np.full((height, width, 3), 128, np.uint8)
    side = min(width, height)
    top, left = (height - side) // 2, (width - side) // 2
    rows = np.linspace(0, side, _ROWS + 1).round().astype(int) + top
    columns = np.linspace(0, side, _COLUMNS + 1).round().astype(int) + left
    for bit in range(_BITS):
        row, column = divmod(bit, _COLUMNS)
        shade = 224 if number >> bit & 1 else 32
        picture[rows[row] : rows[row + 1], columns[column] : columns[column + 1]] = shade
    return picture


def read_number(frame: NDArray[np.uint8]) -> int:
    """Read the number of a square frame uint8 [size, size, 3] that was made from `numbered`."""
    side = frame.shape[0]
    number = 0
    for bit in range(_BITS):
        row, column = divmod(bit, _COLUMNS)
        y, x = int((row + 0.5) * side / _ROWS), int((column + 0.5) * side / _COLUMNS)
        number |= int(frame[y - 2 : y + 3, x - 2 : x + 3].mean() > 128) << bit
    return number


def quadrants(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Red, green / blue, white: a picture that shows how it was turned."""
    width, height = size
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (220, 30, 30)
    picture[: height // 2, width // 2 :] = (30, 200, 30)
    picture[height // 2 :, : width // 2] = (30, 30, 220)
    picture[height // 2 :, width // 2 :] = (235, 235, 235)
    return picture


def quadrant_names(frame: NDArray[np.uint8]) -> str:
    """The colors of a square frame made from `quadrants`: top left, top right, bottom left, bottom right."""
    side = frame.shape[0]
    names = []
    for y, x in ((side // 4, side // 4), (side // 4, 3 * side // 4), (3 * side // 4, side // 4)):
        names.append(_color(frame[y, x]))
    return "".join([*names, _color(frame[3 * side // 4, 3 * side // 4])])


def flat_yuv(values: Sequence[int], size: tuple[int, int], pix_fmt: str) -> av.VideoFrame:
    """A frame whose planes hold one sample value each, given on the 8-bit scale."""
    frame = av.VideoFrame(size[0], size[1], pix_fmt)
    deep = frame.format.components[0].bits - 8
    for plane, value in zip(frame.planes, values, strict=True):
        samples = np.full(plane.buffer_size // (2 if deep else 1), value << deep, np.uint16 if deep else np.uint8)
        plane.update(samples.tobytes())
    return frame


def make_video(
    path: Path,
    *,
    codec: str = "libx264",
    frames: int = 50,
    size: tuple[int, int] = (96, 64),
    rate: int = 25,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    start: int = 0,
    rotation: int = 0,
    flip: bool = False,
    sar: Fraction | None = None,
    pix_fmt: str = "yuv420p",
    color_range: int = 0,
    colorspace: int = 2,
    interlaced: bool = False,
    subtitles: Sequence[Cue] = (),
    subtitle_codec: str = "subrip",
    audio_s: float = 0.0,
    audio_codec: str = "aac",
    picture: Callable[[int], NDArray[np.uint8] | av.VideoFrame] | None = None,
    options: dict[str, str] | None = None,
    format: str | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write a video of `frames` numbered frames and return its path.

    `pts` (ticks of `time_base`, default 1/rate) makes a variable frame rate; `start` is added to each. `size` is
    (width, height) as coded; `rotation` is counter-clockwise, in degrees. `color_range` and `colorspace` are FFmpeg's
    numbers (1 limited, 2 full; 1 BT.709, 2 untagged, 6 BT.601). `picture(i)` gives other pixels than `numbered`.
    """
    time_base = time_base or Fraction(1, rate)
    pts = list(range(frames)) if pts is None else list(pts)
    draw = picture or (lambda i: numbered(i, size))
    with av.open(str(path), "w", format=format, container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=_encoder_options(codec, interlaced, options))
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        context = stream.codec_context
        context.time_base = time_base
        if sar is not None:
            context.sample_aspect_ratio = sar
        if color_range:
            context.color_range = color_range
        if colorspace != 2:
            context.colorspace = colorspace
        if interlaced:
            context.flags |= 0x00040000 | 0x20000000  # interlaced DCT and motion estimation
        if rotation or flip:
            stream.set_display_rotation(rotation, hflip=flip)
        cues = _add_subtitles(container, subtitle_codec) if subtitles else None
        sound = container.add_stream(audio_codec, rate=16000, layout="mono") if audio_s else None
        for i, tick in enumerate(pts):
            frame = _frame(draw(i), pix_fmt, color_range, colorspace)
            frame.pts, frame.time_base = tick + start, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if cues is not None:
            _mux_subtitles(container, cues, subtitle_codec, subtitles)
        if sound is not None:
            _mux_tone(container, sound, audio_s)
    return path


def make_audio(path: Path, *, seconds: float = 1.0) -> Path:
    """Write a file with sound and no picture."""
    with av.open(str(path), "w") as container:
        _mux_tone(container, container.add_stream("aac", rate=16000, layout="mono"), seconds)
    return path


def _encoder_options(codec: str, interlaced: bool, options: dict[str, str] | None) -> dict[str, str]:
    defaults = {
        "libx264": {"preset": "veryfast", "crf": "12"},
        "libx265": {"preset": "ultrafast", "crf": "12", "x265-params": "log-level=none"},
        "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "12", "b:v": "0"},
        "libsvtav1": {"preset": "12", "crf": "12", "svtav1-params": "lp=1"},
        "mpeg4": {"q:v": "2"},
        "mpeg2video": {"q:v": "2"},
    }.get(codec, {})
    field_order = {"x264-params": "tff=1"} if interlaced and codec == "libx264" else {}
    return {**defaults, **field_order, **(options or {})}


def _frame(
    picture: NDArray[np.uint8] | av.VideoFrame, pix_fmt: str, color_range: int, colorspace: int
) -> av.VideoFrame:
    if isinstance(picture, av.VideoFrame):
        frame = picture
    else:
        mode = "rgba" if picture.shape[2] == 4 else "rgb24"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=mode)
        matrix = colorspace if colorspace in (1, 9) else 5
        if frame.format.name != pix_fmt:
            frame = frame.reformat(format=pix_fmt, dst_colorspace=matrix, dst_color_range=color_range or 1)
    frame.color_range = color_range or frame.color_range
    frame.colorspace = colorspace
    return frame


def _add_subtitles(container: Any, codec: str) -> Any:
    stream = container.add_mux_stream(codec) if codec != "ass" else container.add_stream("ass")
    stream.time_base = Fraction(1, 1000)
    return stream


def _mux_subtitles(container: Any, stream: Any, codec: str, cues: Sequence[Cue]) -> None:
    for number, (start_s, end_s, text) in enumerate(cues):
        payload = text.encode()
        if codec == "mov_text":
            payload = len(payload).to_bytes(2, "big") + payload
        if codec == "ass":
            payload = f"{number},0,Default,,0,0,0,,{text}".encode()
        packet = av.Packet(payload)
        packet.stream = stream
        packet.time_base = Fraction(1, 1000)
        packet.pts = packet.dts = round(start_s * 1000)
        packet.duration = round((end_s - start_s) * 1000)
        container.mux(packet)


def _mux_tone(container: Any, stream: Any, seconds: float) -> None:
    samples = np.sin(np.arange(int(seconds * 16000)) * 0.1).astype(np.float32)[None]
    for start in range(0, samples.shape[1], 1024):
        frame = av.AudioFrame.from_ndarray(samples[:, start : start + 1024].copy(), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, start
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _color(pixel: NDArray[np.uint8]) -> str:
    red, green, blue = (int(c) > 128 for c in pixel)
    return {(1, 0, 0): "R", (0, 1, 0): "G", (0, 0, 1): "B", (1, 1, 1): "W"}.get((red, green, blue), "?")
