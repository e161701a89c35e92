"""Measures how fast videos are decoded to frames, compared with plain PyAV on the same file in the same run.

    python benchmarks/decode.py [VIDEO ...] [--smoke] [--repeat 3] [--out decode.json]

Without VIDEO, a 1280x720 H.264 video of 600 frames is generated. Rates are source frames per second of wall-clock time
and per second of CPU time (this process and the decoder's child process together; CPU time is the figure that matters
where every core is busy). Each is the best of `repeat` runs; the methods take turns. `pyav, decode only` decodes every
frame and discards it; Longreel can be faster, as frames that are shown at no grid point and to which no other frame
refers are not decoded. `pyav, every frame to RGB` is what a script without a time grid does, `pyav, 4 fps to RGB` one
that converts only the frames on the grid. With `shots`, Longreel also detects shot boundaries in all frames. The
decoder process starts once per worker, not once per video, so its
start-up time is reported separately.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import av
import psutil
import tyro
from support.textures import write_texture_video

from pipeline.video.decoder import DecodeConfig, Decoder
from pipeline.video.shots.detector import Shots

DECODE_ONLY = "pyav, decode only, 1 thread"


@dataclass(frozen=True)
class Options:
    """Measure video decoding."""

    videos: tyro.conf.Positional[tuple[Path, ...]] = ()
    size: int = 128
    fps: float = 4.0
    repeat: int = 3
    smoke: bool = False  # one run on a small generated video, in a few seconds
    out: Path | None = None  # write the figures to this JSON file
    backends: tuple[str, ...] = field(default=("pyav", "decord"))


def make_texture(folder: Path, *, smoke: bool) -> Path:
    if smoke:
        return write_texture_video(folder / "texture-180p.mp4", frames=50, size=(320, 180))
    return write_texture_video(folder / "texture-720p.mp4", frames=600)


def decode_only(path: Path, threads: str) -> int:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = threads
        if threads == "NONE":
            stream.codec_context.thread_count = 1
        return sum(1 for _ in container.decode(stream))


def every_frame_to_rgb(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(len(frame.to_ndarray(format="rgb24")) > 0 for frame in container.decode(video=0))


def grid_frames_to_rgb(path: Path, fps: float, size: int) -> int:
    """Decode all frames and convert those that come first at or after each grid time, as a script would."""
    count, next_s = 0, 0.0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        for frame in container.decode(stream):
            count += 1
            if (frame.time or 0.0) >= next_s:
                scale = size / min(frame.width, frame.height)
                shape = round(frame.width * scale), round(frame.height * scale)
                frame.reformat(*shape, "rgb24", interpolation="BICUBIC").to_ndarray()
                next_s += 1 / fps
    return count


def through_decoder(decoder: Decoder, path: Path, shots: Shots = "none") -> int:
    for _ in decoder.frames(path, shots=shots):
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


def cpu_time_s() -> float:
    """Return user and system time of this process and its running children."""
    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children())]
    return sum(t.user + t.system for t in times)


def measure(path: Path, options: Options) -> dict[str, tuple[float, float]]:
    decoders = {b: Decoder(DecodeConfig(size=options.size, fps=options.fps, backend=b)) for b in options.backends}  # type: ignore[arg-type]
    plain, fine = (Decoder(DecodeConfig(size=options.size, fps=fps)) for fps in (options.fps, 25.0))
    for decoder in (*decoders.values(), plain, fine):
        decoder.probe(path)  # starts the process
    methods: dict[str, Callable[[], int]] = {
        DECODE_ONLY: lambda: decode_only(path, "NONE"),
        "pyav, decode only, frame threads": lambda: decode_only(path, "FRAME"),
        "pyav, every frame to RGB": lambda: every_frame_to_rgb(path),
        f"pyav, {options.fps:g} fps to RGB": lambda: grid_frames_to_rgb(path, options.fps, options.size),
        **{
            f"Decoder({name}), {options.fps:g} fps": lambda d=decoder: through_decoder(d, path)  # type: ignore[misc]
            for name, decoder in decoders.items()
        },
        f"Decoder(pyav), {options.fps:g} fps, shots": lambda: through_decoder(plain, path, "content"),
        "Decoder(pyav), 25 fps": lambda: through_decoder(fine, path),
    }
    best = dict.fromkeys(methods, (0.0, 0.0))
    for _ in range(options.repeat):
        for name, method in methods.items():
            began, used = time.perf_counter(), cpu_time_s()
            frames = method()
            rates = frames / (time.perf_counter() - began), frames / max(0.01, cpu_time_s() - used)
            best[name] = max(best[name][0], rates[0]), max(best[name][1], rates[1])
    for decoder in (*decoders.values(), plain, fine):
        decoder.close()
    return best


def main(options: Options) -> None:
    if options.smoke:
        options = replace(options, videos=(), repeat=1)
    with tempfile.TemporaryDirectory() as folder:
        videos = options.videos or (make_texture(Path(folder), smoke=options.smoke),)
        start_s = start_up_s(options.repeat, videos[0])
        results = {video.name: measure(video, options) for video in videos}
    for name, rates in results.items():
        print(f"\n{name:<36}{'frames/s':>14}{'frames per CPU second':>28}")
        for method, (wall, cpu) in rates.items():
            shares = wall / rates[DECODE_ONLY][0], cpu / rates[DECODE_ONLY][1]
            print(f"  {method:<34}{wall:9.0f} {shares[0]:5.2f}x{cpu:20.0f} {shares[1]:5.2f}x")
    print(f"\ndecoder process: first response after {start_s:.2f} s; {os.cpu_count()} cores")
    if options.out:
        figures = {"start_up_s": start_s, "cores": os.cpu_count(), "frames_per_wall_and_cpu_second": results}
        options.out.write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options))
