"""Video files with several video streams, cover art, or none of the packets that a stream promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.stream import Disposition

from tests.support.inputs.media import numbered


@dataclass(frozen=True)
class StreamSpec:
    """One video stream: its pictures are numbered from `first`."""

    size: tuple[int, int]
    first: int = 0
    frames: int = 24
    disposition: Disposition = Disposition.default
    codec: str = "libx264"
    delay_s: int = 0


def make_streams(path: Path, streams: Sequence[StreamSpec], *, rate: int = 8) -> Path:
    """Write a file with these video streams in order, their packets interleaved, and return its path."""
    with av.open(str(path), "w") as container:
        made = []
        for spec in streams:
            stream = container.add_stream(spec.codec, rate=rate)
            stream.width, stream.height = spec.size
            stream.pix_fmt = "yuvj420p" if spec.codec == "mjpeg" else "yuv420p"
            stream.disposition = spec.disposition
            made.append(stream)
        for number in range(max(spec.frames for spec in streams)):
            for spec, stream in zip(streams, made, strict=True):
                if number < spec.frames:
                    frame = av.VideoFrame.from_ndarray(numbered(spec.first + number, spec.size), format="rgb24")
                    frame.pts, frame.time_base = number + spec.delay_s * rate, Fraction(1, rate)
                    container.mux(stream.encode(frame))
        for spec, stream in zip(streams, made, strict=True):
            if spec.frames:
                container.mux(stream.encode(None))
    return path
