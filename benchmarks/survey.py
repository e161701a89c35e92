"""What a survey costs at 720p H.264, beside decoding the same video in full, and whether its memory grows with length.

    python benchmarks/survey.py [VIDEO] [--samples samples] [--repeat 2] [--quick] [--out survey.json]

Without a VIDEO the trailer among the samples is taken (1280x720, 24 frames a second, a key frame in 5 s on average),
fetched to `samples` if it is not there. Longer videos are its packets over and over with their times moved on, so
nothing is encoded for them; one is encoded once, with a key frame in 2 s as streaming services have them.

Figures are seconds of video a second of processor time (this process and its children together, user and system):
real-time factor per core, the best of `repeat` runs. The survey's time is all that an item costs: SHA-256 of the file,
then the look. Beside it, on the first of the videos: PyAV decoding every frame and throwing it away, PySceneDetect's
pass with its own defaults (AdaptiveDetector), and the ffmpeg command's, where these are installed. Memory is the peak
of the decoder process (VmHWM, Linux), each time a fresh one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import psutil
import tyro

from pipeline.sources.sample_media import fetch
from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.fingerprint import sha256_file

TRAILER = "trailer_bbb.mp4"


@dataclass(frozen=True)
class Options:
    """Measure the survey of videos."""

    video: tyro.conf.Positional[Path | None] = None
    samples: Path = Path("samples")
    repeat: int = 2
    quick: bool = False  # 2 and 24 minutes in place of 10 and 120, one run each
    out: Path | None = None  # where the figures go as JSON


def repeated(source: Path, target: Path, seconds: float) -> Path:
    """Write the packets of `source` over and over, until `seconds` are full."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream = given.streams.video[0]
        packets = [(bytes(p), p.pts, p.dts, p.duration, p.is_keyframe) for p in given.demux(stream) if p.size]
        length = max(pts + duration for _, pts, _, duration, _ in packets) - min(pts for _, pts, *_ in packets)
        copy = made.add_stream_from_template(stream, opaque=True)
        for turn in range(max(1, round(seconds / float(length * stream.time_base)))):
            for data, pts, dts, duration, is_keyframe in packets:
                packet = av.Packet(data)
                packet.pts, packet.dts, packet.duration = pts + turn * length, dts + turn * length, duration
                packet.time_base, packet.stream, packet.is_keyframe = stream.time_base, copy, is_keyframe
                made.mux(packet)
    return target


def encoded(source: Path, target: Path, *, key_every_s: float | None = None, seconds: float | None = None) -> Path:
    """Encode `source` again, or its first seconds."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream = given.streams.video[0]
        rate = Fraction(stream.average_rate or 25)
        options = {"preset": "veryfast", "crf": "23"}
        if key_every_s:
            options |= {"g": str(round(rate * Fraction(key_every_s))), "sc_threshold": "0"}
        copy = made.add_stream("libx264", rate=rate, options=options)
        copy.width, copy.height, copy.pix_fmt = stream.codec_context.width, stream.codec_context.height, "yuv420p"
        for number, frame in enumerate(given.decode(stream)):
            if seconds and number >= rate * Fraction(seconds):
                break
            frame.pts, frame.time_base, frame.pict_type = number, 1 / rate, 0
            made.mux(copy.encode(frame))
        made.mux(copy.encode(None))
    return target


def processor_s() -> float:
    """User and system time of this process, its children that run, and those that have ended."""
    own = psutil.Process()
    running = [process.cpu_times() for process in own.children(recursive=True)]
    ended = own.cpu_times()
    return sum(t.user + t.system for t in running) + sum(
        (ended.user, ended.system, ended.children_user, ended.children_system)
    )


def survey(decoder: Decoder, path: Path) -> float:
    """Do what the survey does with a video; return its length in seconds."""
    sha256_file(path)
    return float(decoder.analyze(path).durations_s.sum())


def decode_all(path: Path) -> None:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        for _ in container.decode(stream):
            pass


def scene_detect(path: Path) -> None:
    from scenedetect import AdaptiveDetector, detect

    detect(str(path), AdaptiveDetector())


def ffmpeg(path: Path) -> None:
    command = ["ffmpeg", "-v", "error", "-threads", "1", "-i", str(path), "-map", "0:v:0", "-f", "null", "-"]
    subprocess.run(command, check=True)


def others() -> dict[str, Callable[[Path], None]]:
    found: dict[str, Callable[[Path], None]] = {"PyAV, every frame, 1 thread": decode_all}
    try:
        import scenedetect  # noqa: F401

        found["PySceneDetect, its defaults"] = scene_detect
    except ImportError:
        print("PySceneDetect is not installed: not measured")
    if shutil.which("ffmpeg"):
        found["ffmpeg, every frame, 1 thread"] = ffmpeg
    else:
        print("there is no ffmpeg command: not measured")
    return found


def best_rate(work: Callable[[], None], seconds: float, repeat: int) -> dict[str, float]:
    """Return seconds of video a second of processor time and of wall clock, each the best."""
    rates = {"processor": 0.0, "wall": 0.0}
    for _ in range(repeat):
        began, used = time.perf_counter(), processor_s()
        work()
        rates["processor"] = max(rates["processor"], seconds / max(0.01, processor_s() - used))
        rates["wall"] = max(rates["wall"], seconds / (time.perf_counter() - began))
    return rates


def peak_bytes(path: Path) -> int:
    """Return the most memory that a fresh decoder process held while it looked at a video."""
    before = psutil.Process().children()
    with Decoder(DecodeConfig()) as decoder:
        decoder.analyze(path)
        (child,) = set(psutil.Process().children()) - set(before)
        status = Path(f"/proc/{child.pid}/status").read_text(encoding="ascii")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) << 10


def main(options: Options) -> None:
    if options.video is None:
        fetch(options.samples)
    source = options.video or options.samples / "videos" / TRAILER
    short_s, long_s, repeat = (120, 1440, 1) if options.quick else (600, 7200, options.repeat)
    figures: dict[str, object] = {"cores": os.cpu_count(), "video": source.name}
    with tempfile.TemporaryDirectory() as folder, Decoder(DecodeConfig()) as decoder:
        streaming = encoded(source, Path(folder, "key-2s.mp4"), key_every_s=2)
        videos = {
            f"{short_s // 60} min": repeated(source, Path(folder, "short.mp4"), short_s),
            f"{long_s // 60} min": repeated(source, Path(folder, "long.mp4"), long_s),
            f"{short_s // 60} min, a key frame in 2 s": repeated(streaming, Path(folder, "streaming.mp4"), short_s),
            "a clip of 10 s": encoded(source, Path(folder, "clip.mp4"), seconds=10),
        }
        rates = {}
        for name, path in videos.items():
            seconds = survey(decoder, path)  # warms the child and the file system's cache
            rates[f"survey, {name}"] = best_rate(lambda path=path: survey(decoder, path), seconds, repeat)  # type: ignore[misc]
        once = repeated(source, Path(folder, "once.mp4"), 60)
        seconds = float(decoder.analyze(once).durations_s.sum())
        for name, work in others().items():
            work(once)
            rates[name] = best_rate(lambda work=work: work(once), seconds, repeat)  # type: ignore[misc]
        print(f"\n{'seconds of video a second of':<40}{'processor':>12}{'wall clock':>12}")
        for name, rate in rates.items():
            print(f"  {name:<38}{rate['processor']:10.0f} x{rate['wall']:10.0f} x")
        peaks = {name: peak_bytes(path) for name, path in list(videos.items())[:2]}
    low, high = peaks.values()
    print("\npeak memory of the decoder process: " + ", ".join(f"{n} {b / 2**20:.0f} MiB" for n, b in peaks.items()))
    print(f"  ratio {high / low:.3f} (the aim is at most 1.1)")
    figures |= {"rates": rates, "peak_bytes": peaks}
    if options.out:
        options.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options))
