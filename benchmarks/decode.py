"""How fast videos become frames, beside plain PyAV decoding of the same file in the same run.

    python benchmarks/decode.py [VIDEO …] [--repeat 3] [--out decode.json]

Without videos, one of 1280x720 is made (H.264, 600 frames of moving texture). All figures are source frames, a second
of wall clock and a second of processor time (this process and the decoder's together; the figure that counts where
every core is busy), each the best of `repeat` runs, taken in turns. `pyav, undecorated` decodes every frame and throws
it away: the ceiling. `pyav, every frame to RGB` is what a script without a time grid does. The start-up of the decoder
process is paid once a worker, not once a video.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import tyro

from pipeline.video.decoder import DecodeConfig, Decoder

CEILING = "pyav, undecorated, 1 thread"


@dataclass(frozen=True)
class Options:
    """Measure decoding."""

    videos: tyro.conf.Positional[tuple[Path, ...]] = ()
    size: int = 128
    fps: float = 4.0
    repeat: int = 3
    out: Path | None = None  # where the figures go as JSON
    backends: tuple[str, ...] = field(default=("pyav", "decord"))


def make_texture(path: Path) -> Path:
    rng = np.random.default_rng(0)
    canvas = rng.integers(0, 255, (90, 160, 3), np.uint8).repeat(16, axis=0).repeat(16, axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "fast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for i in range(600):
            at = 2 * i % 700
            view = np.ascontiguousarray(canvas[at : at + 720, at : at + 1280])
            frame = av.VideoFrame.from_ndarray(view, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def undecorated(path: Path, threads: str) -> int:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = threads
        if threads == "NONE":
            stream.codec_context.thread_count = 1
        return sum(1 for _ in container.decode(stream))


def every_frame_to_rgb(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(len(frame.to_ndarray(format="rgb24")) > 0 for frame in container.decode(video=0))


def through_decoder(decoder: Decoder, path: Path) -> int:
    for _ in decoder.frames(path):
        pass
    if decoder.report is None:
        raise RuntimeError("no report")
    return decoder.report.source_frames


def start_up_s(repeat: int, path: Path) -> float:
    def once() -> float:
        began = time.perf_counter()
        with Decoder() as decoder:
            decoder.probe(path)
            return time.perf_counter() - began

    return min(once() for _ in range(repeat))


def processor_s() -> float:
    """User and system time of this process and its children that still run."""
    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children())]
    return sum(t.user + t.system for t in times)


def measure(path: Path, options: Options) -> dict[str, tuple[float, float]]:
    decoders = {b: Decoder(DecodeConfig(size=options.size, fps=options.fps, backend=b)) for b in options.backends}  # type: ignore[arg-type]
    fine = Decoder(DecodeConfig(size=options.size, fps=25.0))
    for decoder in (*decoders.values(), fine):
        decoder.probe(path)  # starts the process
    ways: dict[str, Callable[[], int]] = {
        CEILING: lambda: undecorated(path, "NONE"),
        "pyav, undecorated, frame threads": lambda: undecorated(path, "FRAME"),
        "pyav, every frame to RGB": lambda: every_frame_to_rgb(path),
        **{
            f"Decoder({name}), {options.fps:g} a second": lambda d=decoder: through_decoder(d, path)  # type: ignore[misc]
            for name, decoder in decoders.items()
        },
        "Decoder(pyav), 25 a second": lambda: through_decoder(fine, path),
    }
    best = dict.fromkeys(ways, (0.0, 0.0))
    for _ in range(options.repeat):
        for name, way in ways.items():
            began, used = time.perf_counter(), processor_s()
            frames = way()
            rates = frames / (time.perf_counter() - began), frames / max(0.01, processor_s() - used)
            best[name] = max(best[name][0], rates[0]), max(best[name][1], rates[1])
    for decoder in (*decoders.values(), fine):
        decoder.close()
    return best


def main(options: Options) -> None:
    with tempfile.TemporaryDirectory() as folder:
        videos = options.videos or (make_texture(Path(folder) / "texture-720p.mp4"),)
        start_s = start_up_s(options.repeat, videos[0])
        results = {video.name: measure(video, options) for video in videos}
    for name, rates in results.items():
        print(f"\n{name:<36}{'per second':>14}{'per processor second':>28}")
        for way, (wall, cpu) in rates.items():
            shares = wall / rates[CEILING][0], cpu / rates[CEILING][1]
            print(f"  {way:<34}{wall:9.0f} {shares[0]:5.2f}x{cpu:20.0f} {shares[1]:5.2f}x")
    print(f"\ndecoder process: {start_s:.2f} s from nothing to the first answer; {os.cpu_count()} cores")
    if options.out:
        figures = {"start_up_s": start_s, "cores": os.cpu_count(), "frames_per_wall_and_processor_second": results}
        options.out.write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options))
