"""Measures what surveying 720p H.264 costs, compared with decoding the same video completely, and its memory.

    python benchmarks/survey.py [VIDEO] [--smoke] [--samples DIR] [--repeat 2] [--out survey.json]

Without VIDEO, the trailer of the sample material is used (1280x720, 24 frames per second, a keyframe every 5 s on
average); the samples are fetched to DIR if they are not there. Longer videos repeat its packets with shifted
timestamps, so nothing is encoded for them; one video is encoded again with a keyframe every 2 s, as streaming services
do. `--smoke` uses a generated video of a few seconds.

Figures are seconds of video per second of CPU time (this process and its children, user and system): the real-time
factor per core, the best of `repeat` runs. The survey's time is all that an item costs: SHA-256 of the file and the
video analysis. It is compared, on a video of one minute, with PyAV decoding and discarding every frame, with
PySceneDetect's AdaptiveDetector and its defaults, and with the ffmpeg command, where these are installed. `limit` reads
the packets and decodes the sampled frames of the video with a keyframe every 2 s, and does nothing else. Memory is the
peak of a new decoder process (VmHWM, Linux); the analysis must not need more for a longer video.
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
from support.textures import write_texture_video

from pipeline.sources.samples.media import get_samples
from pipeline.video.analysis.key_frames import KeyFrameSampler
from pipeline.video.analysis.summary import FrameSummary
from pipeline.video.backends.stream_choice import open_decoder
from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.fingerprint import sha256_file

TRAILER = "trailer_bbb.mp4"


@dataclass(frozen=True)
class Options:
    """Measure the video survey."""

    video: tyro.conf.Positional[Path | None] = None
    samples: Path = Path(tempfile.gettempdir()) / "longreel-samples"  # fetched if they are not there
    repeat: int = 2
    seconds: tuple[int, int] = (600, 7200)  # of the short and the long video
    smoke: bool = False  # generated videos of a few seconds, one run each
    out: Path | None = None  # write the figures to this JSON file


def repeated(source: Path, target: Path, seconds: float) -> Path:
    """Repeat the packets of `source` for `seconds`."""
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
    """Encode `source` again, completely or its first `seconds`."""
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


def cpu_time_s() -> float:
    """Return user and system time of this process and of its children, both running and ended."""
    own = psutil.Process()
    running = [process.cpu_times() for process in own.children(recursive=True)]
    ended = own.cpu_times()
    return sum(t.user + t.system for t in running) + sum(
        (ended.user, ended.system, ended.children_user, ended.children_system)
    )


def survey(decoder: Decoder, path: Path) -> float:
    """Process a video as the survey does; return its length in seconds."""
    sha256_file(path)
    return float(decoder.analyze(path).durations_s.sum())


class Discarded(FrameSummary):
    """Takes sampled frames and does nothing with them."""

    def __init__(self) -> None:
        pass

    def add(self, *_: object) -> None:
        """Discard a frame."""


def decode_sampled(path: Path) -> None:
    """Read all packets and decode the frames that the survey samples."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context, _ = open_decoder(stream, max_pixels=1 << 30)
        sampler = KeyFrameSampler(context, Discarded(), bursts_from_s=0.0)
        for packet in container.demux(stream):
            if packet.size:
                sampler.add(packet, float((packet.pts or 0) * stream.time_base))
        sampler.finish()


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


def baselines() -> dict[str, Callable[[Path], None]]:
    found: dict[str, Callable[[Path], None]] = {"PyAV, every frame, 1 thread": decode_all}
    try:
        import scenedetect  # noqa: F401

        found["PySceneDetect, defaults"] = scene_detect
    except ImportError:
        print("PySceneDetect is not installed and not measured")
    if shutil.which("ffmpeg"):
        found["ffmpeg, every frame, 1 thread"] = ffmpeg
    else:
        print("the ffmpeg command is not installed and not measured")
    return found


def best_rate(work: Callable[[], None], seconds: float, repeat: int) -> dict[str, float]:
    """Return the best seconds of video per second of CPU time and per second of wall-clock time."""
    rates = {"cpu": 0.0, "wall": 0.0}
    for _ in range(repeat):
        began, used = time.perf_counter(), cpu_time_s()
        work()
        rates["cpu"] = max(rates["cpu"], seconds / max(0.01, cpu_time_s() - used))
        rates["wall"] = max(rates["wall"], seconds / (time.perf_counter() - began))
    return rates


def peak_bytes(path: Path) -> int:
    """Return the peak memory of a new decoder process that analyzes a video."""
    before = psutil.Process().children()
    with Decoder(DecodeConfig()) as decoder:
        decoder.analyze(path)
        (child,) = set(psutil.Process().children()) - set(before)
        status = Path(f"/proc/{child.pid}/status").read_text(encoding="ascii")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) << 10


def find_video(options: Options, folder: Path) -> Path:
    if options.smoke:
        return write_texture_video(folder / "texture.mp4", frames=50, size=(320, 180))
    return options.video or get_samples(options.samples).parent / "videos" / TRAILER


def main(options: Options) -> None:
    short_s, long_s, one_s, clip_s = (4, 8, 4, 2) if options.smoke else (*options.seconds, 60, 10)
    repeat = 1 if options.smoke else options.repeat
    with tempfile.TemporaryDirectory() as folder, Decoder(DecodeConfig()) as decoder:
        source = find_video(options, Path(folder))
        streaming = encoded(source, Path(folder, "key-2s.mp4"), key_every_s=2)
        videos = {
            f"{short_s} s": repeated(source, Path(folder, "short.mp4"), short_s),
            f"{long_s} s": repeated(source, Path(folder, "long.mp4"), long_s),
            f"{short_s} s, keyframe every 2 s": repeated(streaming, Path(folder, "streaming.mp4"), short_s),
            f"clip of {clip_s} s": encoded(source, Path(folder, "clip.mp4"), seconds=clip_s),
        }
        rates = {}
        for name, path in videos.items():
            seconds = survey(decoder, path)  # starts the child process and fills the page cache
            rates[f"survey, {name}"] = best_rate(lambda path=path: survey(decoder, path), seconds, repeat)  # type: ignore[misc]
        streamed = videos[f"{short_s} s, keyframe every 2 s"]
        seconds = survey(decoder, streamed)
        rates["limit, keyframe every 2 s"] = best_rate(lambda: decode_sampled(streamed), seconds, repeat)
        once = repeated(source, Path(folder, "once.mp4"), one_s)
        seconds = float(decoder.analyze(once).durations_s.sum())
        for name, work in baselines().items():
            work(once)
            rates[name] = best_rate(lambda work=work: work(once), seconds, repeat)  # type: ignore[misc]
        print(f"\n{'seconds of video per second of':<40}{'CPU time':>12}{'wall clock':>12}")
        for name, rate in rates.items():
            print(f"  {name:<38}{rate['cpu']:10.0f} x{rate['wall']:10.0f} x")
        peaks = {name: peak_bytes(path) for name, path in list(videos.items())[:2]}
    low, high = peaks.values()
    print("\npeak memory of the decoder process: " + ", ".join(f"{n} {b / 2**20:.0f} MiB" for n, b in peaks.items()))
    print(f"  ratio {high / low:.3f} (at most 1.1 is the target)")
    figures = {"cores": os.cpu_count(), "video": source.name, "rates": rates, "peak_bytes": peaks}
    if options.out:
        options.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options))
