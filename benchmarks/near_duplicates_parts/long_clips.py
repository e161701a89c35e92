"""Long videos of generated scenes, and copies of them as other sites would encode them; each file is written once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from near_duplicates_parts.long_scenes import Picture

_TICK = Fraction(1, 90000)


@dataclass(frozen=True)
class Encoding:
    """How a copy of a video is made: FFmpeg filters, encoder, key frame interval, and the part that is kept."""

    filters: str = "null"
    codec: str = "libx264"
    key_frame_s: float = 10.0
    fixed: bool = False  # no key frames where the picture changes
    quality: int = 26
    start_s: float = 0.0
    part: tuple[float, float] = (0.0, 1.0)  # of the video


# Kinds of whole copies, then kinds of their own.
ENCODINGS: dict[str, Encoding] = {
    "key frames": Encoding(key_frame_s=4.7, fixed=True),
    "frame rate": Encoding("fps=24", key_frame_s=10.4, start_s=0.08),
    "codec": Encoding(codec="mpeg4", key_frame_s=7.3, quality=5),
    "size": Encoding("scale=iw/2:-2", key_frame_s=2.0, fixed=True, quality=32),
    "start": Encoding(key_frame_s=8.3, start_s=1.37),
    "several": Encoding("fps=24,scale=iw*3/4:-2", key_frame_s=6.1, fixed=True, quality=32, start_s=0.52),
    "letterbox": Encoding("pad=iw:ih*1.3:0:(oh-ih)/2", key_frame_s=5.0),
    "crop": Encoding("crop=iw*.9:ih*.9:iw*.06:ih*.02", key_frame_s=7.9),
    "logo": Encoding(
        "drawbox=iw*.84:ih*.06:iw*.1:ih*.1:0xE0E040@.8:fill,drawbox=iw*.86:ih*.08:iw*.05:ih*.05:0x2020C0@.8:fill",
        key_frame_s=9.1,
    ),
    "flipped": Encoding("hflip", key_frame_s=8.7, quality=28),
    "sub-clip": Encoding(key_frame_s=9.6, part=(0.37, 0.8)),
}
WHOLE = ("key frames", "frame rate", "codec", "size", "start", "several")


@dataclass(frozen=True)
class LongClip:
    """A file that shows seconds `start_s` to `end_s` of the video `source`.

    Videos of one `course` of events begin alike and differ in length.
    """

    path: Path
    scene: str
    minutes: float
    source: str
    start_s: float
    end_s: float
    course: str
    kind: str = ""

    @property
    def name(self) -> str:
        """A description of the clip."""
        return f"{self.source} {self.kind}".strip()


@dataclass
class _Writer:
    """Encodes frames to a file that gets its name when it is complete."""

    path: Path
    encoding: Encoding
    rate: Fraction
    stream: Any = field(default=None, init=False)

    def write(self, frames: Iterator[av.VideoFrame]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp.mp4")
        with av.open(str(temporary), "w", format="mp4") as container:
            for frame in frames:
                stream = self.stream or self._open(container, frame)
                frame.pts, frame.time_base, frame.pict_type = round(frame.time / _TICK), _TICK, 0
                container.mux(stream.encode(frame))
            container.mux(self.stream.encode(None))
        temporary.rename(self.path)

    def _open(self, container: Any, frame: av.VideoFrame) -> Any:
        made = self.encoding
        options = {"g": str(round(made.key_frame_s * self.rate))}
        if made.codec == "libx264":
            options |= {"preset": "ultrafast", "crf": str(made.quality)}
        if made.fixed:
            options["sc_threshold"] = "0" if made.codec == "libx264" else "1000000000"
        self.stream = container.add_stream(made.codec, rate=self.rate, options=options)
        self.stream.width, self.stream.height, self.stream.pix_fmt = frame.width, frame.height, "yuv420p"
        self.stream.codec_context.thread_count = 1
        self.stream.codec_context.time_base = _TICK if made.codec == "libx264" else 1 / self.rate
        return self.stream


def write_original(path: Path, pictures: Iterator[Picture], *, seconds: float, rate: Fraction) -> None:
    """Encode `seconds` of gray pictures."""

    def frames() -> Iterator[av.VideoFrame]:
        for number, picture in enumerate(itertools.islice(pictures, round(seconds * rate))):
            frame = av.VideoFrame.from_ndarray(picture, "gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, 1 / rate
            yield frame

    if not path.is_file():
        _Writer(path, Encoding(quality=22), rate).write(frames())


def write_copy(source: LongClip, kind: str, *, rate: Fraction) -> LongClip:
    """Write one copy of an original and return it."""
    made, length_s = ENCODINGS[kind], source.end_s - source.start_s
    start_s, end_s = made.part[0] * length_s + made.start_s, made.part[1] * length_s
    path = source.path.with_name(f"{source.path.stem}-{kind.replace(' ', '-')}.mp4")
    if not path.is_file():
        rate = Fraction(24) if "fps=24" in made.filters and rate > 24 else rate
        _Writer(path, made, rate).write(_filtered(source.path, made.filters, start_s, end_s, rate))
    return LongClip(path, source.scene, source.minutes, source.source, start_s, end_s, source.course, kind)


def _filtered(path: Path, filters: str, start_s: float, end_s: float, rate: Fraction) -> Iterator[av.VideoFrame]:
    filters = filters.replace("fps=24", f"fps={rate if rate >= 24 else rate * 24 / 25}")
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        video.codec_context.thread_count = 1
        graph = av.filter.Graph()
        last = graph.add_buffer(template=video)
        for text in f"{filters},setpts=PTS-STARTPTS,scale=trunc(iw/2)*2:trunc(ih/2)*2,format=yuv420p".split(","):
            name, _, arguments = text.partition("=")
            step = graph.add(name, arguments or None)
            last.link_to(step)
            last = step
        last.link_to(graph.add("buffersink"))
        graph.configure()
        if start_s > 1:
            container.seek(int(start_s / video.time_base), stream=video)
        for frame in container.decode(video):
            if frame.time < start_s - 1e-6:
                continue
            if frame.time >= end_s - 1e-6:
                break
            graph.push(frame)
            yield from _drain(graph)
        graph.push(None)
        yield from _drain(graph)


def _drain(graph: Any) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
