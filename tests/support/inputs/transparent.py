"""Videos and pictures with an alpha channel: the left half opaque, the right half transparent, a translucent spot."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = (96, 64)
COLOR, SPOT = (200, 0, 0), (0, 0, 255)  # the transparent half has COLOR as well, which must not show


def half_transparent(size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """Return the picture, uint8 RGBA [height, width, 4]."""
    width, height = size
    picture = np.zeros((height, width, 4), np.uint8)
    picture[..., :3] = COLOR
    picture[:, : width // 2, 3] = 255
    picture[height // 4 : 3 * height // 4, 7 * width // 12 : 10 * width // 12] = (*SPOT, 128)
    return picture


def shown_colors(frame: NDArray[np.uint8]) -> tuple[list[int], list[int], list[int]]:
    """Return the colors of a square frame of the picture: of the opaque half, the transparent half, and the spot."""
    side = len(frame)
    places = (side // 2, side // 4), (7 * side // 8, 3 * side // 4), (side // 2, 7 * side // 9)
    opaque, transparent, spot = ([int(value) for value in frame[place]] for place in places)
    return opaque, transparent, spot


def make_transparent(
    path: Path,
    codec: str,
    pix_fmt: str,
    *,
    frames: int = 5,
    options: dict[str, str] | None = None,
    draw: Callable[[int], NDArray[np.uint8]] | None = None,
) -> Path:
    """Write a video whose every frame is the picture, or `draw(i)` of the same size, and return its path."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options or {})
        stream.width, stream.height = SIZE
        stream.pix_fmt = pix_fmt
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(draw(number) if draw else half_transparent(), format="rgba").reformat(
                format=pix_fmt
            )
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def make_png_video(path: Path, pictures: Sequence[Image.Image]) -> Path:
    """Write a video whose packets are PNG files, which can have a palette, and return its path."""
    with av.open(str(path), "w") as container:
        width, height = pictures[0].size
        stream: Any = container.add_mux_stream("png", rate=10, width=width, height=height)
        for number, picture in enumerate(pictures):
            written = io.BytesIO()
            picture.save(written, "PNG")
            packet = av.Packet(written.getvalue())
            packet.stream, packet.time_base = stream, Fraction(1, 10)
            packet.pts = packet.dts = number
            packet.duration, packet.is_keyframe = 1, True
            container.mux(packet)
    return path


def palette_picture() -> Image.Image:
    """Return the picture with a palette, of which one color is transparent and one translucent."""
    rgba = half_transparent()
    entries = np.select([rgba[..., 3] == 255, rgba[..., 3] == 0], [0, 1], 2).astype(np.uint8)
    image = Image.fromarray(entries)
    image.putpalette([*COLOR, *COLOR, *SPOT])
    image.info["transparency"] = bytes([255, 0, 128])
    return image
