"""An MPEG transport stream in which streams appear that its start does not announce."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

_PROBED_BYTES = 5_000_000  # of the start of a file, in which FFmpeg searches for streams


def write_growing_stream(path: Path) -> Path:
    """Write a transport stream of one video, followed by one of three: a recording across a change of program."""
    one = _transport_stream(path.with_suffix(".one"), streams=1, frames=90, size=(640, 480))
    assert len(one) > _PROBED_BYTES
    path.write_bytes(one + 2 * _transport_stream(path.with_suffix(".three"), streams=3, frames=10, size=(96, 64)))
    return path


def _transport_stream(path: Path, *, streams: int, frames: int, size: tuple[int, int]) -> bytes:
    rng = np.random.default_rng(0)
    ids = {"mpegts_start_pid": str(256 + streams), "mpegts_pmt_start_pid": str(4096 + streams)}
    with av.open(str(path), "w", format="mpegts", options=ids) as container:
        made = [container.add_stream("mpeg2video", rate=25, options={"qscale": "1"}) for _ in range(streams)]
        for stream in made:
            stream.width, stream.height, stream.pix_fmt, stream.bit_rate = *size, "yuv420p", 40_000_000
        for time in range(frames):
            for stream in made:
                frame = av.VideoFrame.from_ndarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8), "rgb24")
                frame.pts = time
                container.mux(stream.encode(frame))
        for stream in made:
            container.mux(stream.encode(None))
    data = path.read_bytes()
    path.unlink()
    return data
