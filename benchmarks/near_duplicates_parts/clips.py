"""Clips for the search: parts of videos, and copies of them with one change each in three strengths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from pipeline.sources.samples.media import get_samples

PART_S = 5.0
INTRO_S = 3.0
STRENGTHS = ("weak", "middle", "strong")
_HEIGHT = 360  # of the originals at most, to limit the encoding time

_NOT_ORIGINAL = ("carphone_distorted",)  # a copy of another sample: see `heavy_copy`

# The filters of FFmpeg, and the quality of x264, by strength.
CHANGES: dict[str, tuple[tuple[str, int], ...]] = {
    "re-encode": (("null", 28), ("null", 34), ("null", 40)),
    "rescale": (("scale=iw*3/4:-2", 23), ("scale=iw/2:-2", 23), ("scale=iw/4:-2", 23)),
    "letterbox": (
        ("pad=iw:ih*1.12:0:(oh-ih)/2", 23),
        ("pad=iw*1.33:ih:(ow-iw)/2:0", 23),
        ("pad=iw:ih*1.6:0:(oh-ih)/2", 23),
    ),
    "crop": (
        ("crop=iw*.96:ih*.96", 23),
        ("crop=iw*.92:ih*.92:iw*.06:ih*.02", 23),
        ("crop=iw*.86:ih*.86", 23),
    ),
    "logo": tuple(
        (
            f"drawbox=iw*{x}:ih*.06:iw*{w}:ih*{w}:0xE0E040@{a}:fill,"
            f"drawbox=iw*{x + w / 4}:ih*{0.06 + w / 4}:iw*{w / 2}:ih*{w / 2}:0x2020C0@{a}:fill",
            23,
        )
        for x, w, a in ((0.84, 0.1, 0.6), (0.06, 0.15, 0.8), (0.72, 0.22, 1.0))
    ),
    "frame rate": (("fps=20", 23), ("fps=15", 23), ("fps=10", 23)),
    "several": (
        ("scale=iw*3/4:-2", 30),
        ("crop=iw*.96:ih*.96,scale=iw/2:-2,fps=15", 30),
        ("crop=iw*.92:ih*.92,drawbox=iw*.05:ih*.05:iw*.15:ih*.15:white:fill,scale=iw/2:-2,fps=15", 34),
    ),
}
SUB_CLIPS = (0.75, 0.5, 0.3)  # of a whole video


@dataclass(frozen=True)
class Clip:
    """A file that shows seconds `start` to `end` of the video `source`."""

    path: Path
    source: str
    start: float
    end: float
    change: str = ""
    strength: str = ""

    @property
    def name(self) -> str:
        """A description of the clip."""
        words = f"{self.source} {self.start:g}-{self.end:g}"
        return f"{words} {self.change} {self.strength}" if self.change else words


def sample_videos(folder: Path) -> Path:
    """Fetch the sample material to `folder` and return the folder of its videos."""
    return get_samples(folder / "samples").parent / "videos"


def originals(folder: Path, sources: Path) -> list[Clip]:
    """Return the videos of the folder `sources`, and parts of the longer ones; encoded once."""
    clips = []
    for video in [v for v in sorted(sources.iterdir()) if v.suffix != ".npz" and v.stem not in _NOT_ORIGINAL]:
        length = _length_s(video)
        count = int(length / PART_S) if length >= 2 * PART_S else 0
        ranges = [(0.0, length), *((i * PART_S, (i + 1) * PART_S) for i in range(count))]
        for number, (start, end) in enumerate(ranges):
            path = folder / "originals" / f"{video.stem}-{number}.mp4"
            encode(video, path, start=start, end=end, filters=f"scale=-2:min(ih\\,{_HEIGHT})", quality=16)
            clips.append(Clip(path, video.stem, start, end))
    return clips


def copies(folder: Path, clip: Clip, *, strengths: tuple[str, ...] = STRENGTHS) -> Iterator[Clip]:
    """Yield changed copies of a clip; encoded once."""
    for change, ways in CHANGES.items():
        for strength, (filters, quality) in zip(STRENGTHS, ways, strict=True):
            if strength in strengths:
                path = folder / "copies" / f"{clip.path.stem}-{change}-{strength}.mp4".replace(" ", "-")
                encode(clip.path, path, filters=filters, quality=quality)
                yield Clip(path, clip.source, clip.start, clip.end, change, strength)


def sub_clips(folder: Path, clip: Clip, *, strengths: tuple[str, ...] = STRENGTHS) -> Iterator[Clip]:
    """Yield parts of a clip that do not start at a round time; encoded once."""
    length = clip.end - clip.start
    for strength, share in zip(STRENGTHS, SUB_CLIPS, strict=True):
        if strength in strengths and share * length >= 2:
            start = (length - share * length) * 0.63
            path = folder / "copies" / f"{clip.path.stem}-sub-clip-{strength}.mp4"
            encode(clip.path, path, start=start, end=start + share * length, quality=26)
            begin = clip.start + start
            yield Clip(path, clip.source, begin, begin + share * length, "sub-clip", strength)


def heavy_copy(folder: Path) -> Clip:
    """Return the sample that is a copy of another at 1/84 of its size."""
    return Clip(folder / "samples" / "videos" / "carphone_distorted.mp4", "carphone_pristine", 0.0, 4.0, "published")


def film(folder: Path, clip: Clip) -> Clip:
    """Return a clip with the keyframes of a film: every two seconds, and where the picture changes; encoded once."""
    path = folder / "films" / clip.path.name
    encode(clip.path, path, quality=23, keyframe_s=2.0)
    return Clip(path, clip.source, clip.start, clip.end, "film")


def with_intro(folder: Path, clip: Clip, intro: Path) -> Clip:
    """Return a clip with the first `INTRO_S` seconds of another video prepended; encoded once."""
    path = folder / "intros" / clip.path.name
    if not path.is_file():
        part = folder / "intros" / f"{clip.path.stem}-card.mp4"
        with av.open(str(clip.path)) as given:
            video = given.streams.video[0]
            size, rate = (video.width, video.height), video.average_rate
        encode(intro, part, end=INTRO_S, filters=f"scale={size[0]}:{size[1]},fps={rate}", quality=20)
        _join([part, clip.path], path, rate, size)
    return Clip(path, clip.source, clip.start, clip.end, "intro")


def _join(parts: list[Path], path: Path, rate: Any, size: tuple[int, int]) -> None:
    temporary = path.with_suffix(".tmp.mp4")
    with av.open(str(temporary), "w", format="mp4") as made:
        stream = made.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        count = 0
        for part in parts:
            with av.open(str(part)) as given:
                for frame in given.decode(video=0):
                    frame.pts, frame.time_base, frame.pict_type = count, 1 / Fraction(rate), 0
                    made.mux(stream.encode(frame))
                    count += 1
        made.mux(stream.encode(None))
    temporary.rename(path)


def encode(
    source: Path,
    path: Path,
    *,
    start: float = 0.0,
    end: float = 1e9,
    filters: str = "null",
    quality: int,
    keyframe_s: float = 10.0,
) -> None:
    """Write frames from `start` to before `end` (seconds from the first frame) through FFmpeg's `filters`, as x264."""
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp.mp4")
    with av.open(str(source)) as given, av.open(str(temporary), "w", format="mp4") as made:
        video = given.streams.video[0]
        video.thread_type = "AUTO"
        graph, first = None, None
        stream: Any = None
        for frame in given.decode(video):
            if frame.pts is None:
                continue
            at = float(frame.pts * frame.time_base)
            first = at if first is None else first
            if at - first < start - 1e-6:
                continue
            if at - first >= end - 1e-6:
                break
            if graph is None:
                graph = _graph(video, frame, filters)
            graph.push(frame)
            stream = _drain(graph, made, stream, video.average_rate, (quality, keyframe_s))
        assert graph is not None
        graph.push(None)
        stream = _drain(graph, made, stream, video.average_rate, (quality, keyframe_s))
        made.mux(stream.encode(None))
    temporary.rename(path)


def _graph(video: Any, frame: Any, filters: str) -> Any:
    graph = av.filter.Graph()
    last = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format.name, time_base=frame.time_base)
    even = "setpts=PTS-STARTPTS,scale=trunc(iw/2)*2:trunc(ih/2)*2,format=yuv420p"
    for text in f"{filters},{even}".replace("\\,", "\0").split(","):
        name, _, arguments = text.replace("\0", "\\,").partition("=")
        step = graph.add(name, arguments or None)
        last.link_to(step)
        last = step
    last.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


def _drain(graph: Any, made: Any, stream: Any, rate: Any, way: tuple[int, float]) -> Any:
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return stream
        if stream is None:
            options = {"preset": "veryfast", "crf": str(way[0]), "g": str(round(way[1] * rate))}
            stream = made.add_stream("libx264", rate=rate, options=options)
            stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
            stream.codec_context.time_base = Fraction(1, 90000)
        frame.pts = round(float(frame.pts * frame.time_base) * 90000)
        frame.time_base = Fraction(1, 90000)
        frame.pict_type = 0
        made.mux(stream.encode(frame))


def _length_s(video: Path) -> float:
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        times = [p.pts * p.time_base for p in container.demux(stream) if p.pts is not None]
    return float(max(times) - min(times) + 1 / (stream.average_rate or 25))
