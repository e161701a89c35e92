"""Which frames of a video are looked at, for a survey that is cheap whatever the length.

All packets are read once, in order, for their hash; as they come by, key frames are decoded, one in two seconds at
most, and every half minute the frames of half a second after one, for what moves. So nothing is ever sought, and a file
without an index costs no more than another. Where that gives too few looks (short clips, screen recordings with one
key frame) the video is decoded whole, and looked at twice a second.

Cost, one core, 720p H.264: see benchmarks/survey.py.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

import av
import av.container
from av.codec.context import ThreadType
from av.video.stream import VideoStream

from pipeline.video.analysis.packets import Packets
from pipeline.video.analysis.summary import Looks
from pipeline.video.analysis.types import AnalysisConfig, VideoStats
from pipeline.video.backends.container import open_container, video_stream
from pipeline.video.backends.pyav import PyAVSource, orientation
from pipeline.video.backends.source import Looked, open_for_look
from pipeline.video.time_grid import Timeline
from pipeline.video.types import DecodeConfig
from schemas.errors import InputError, Reason

_SPARSE_S, _DENSE_S = 2.0, 0.5  # between two looks
_PAIR_EVERY_S, _PAIR_S = 30.0, 0.5
_MOST_IN_PAIR = 250  # packets
_EARLY = 0.05  # of the time between two looks: key frames are not on the dot
_ENOUGH = 16  # looks
_LONGEST_GAP_S = 60.0  # without a look
_LARGEST_ASPECT = 100


@dataclass
class Schedule:
    """When to look: every `step_s`, and once more soon after, every half minute, where looks are sparse."""

    step_s: float
    _next_s: float = 0.0
    _next_pair_s: float = 0.0
    _second_s: float | None = None

    def wants(self, at_s: float) -> bool:
        """Whether to look at a frame shown at `at_s`; ask once for each, in order."""
        if self._second_s is not None and at_s >= self._second_s:
            self._second_s = None
            return True
        early_s = at_s + _EARLY * self.step_s
        if early_s < self._next_s:
            return False
        self._next_s = (early_s // self.step_s + 1) * self.step_s
        if self.step_s > _PAIR_S and at_s >= self._next_pair_s:
            self._next_pair_s = at_s + _PAIR_EVERY_S
            self._second_s = at_s + _PAIR_S
        return True

    @property
    def wants_second(self) -> bool:
        """Whether the look that was just granted is the first of two."""
        return self._second_s is not None


def analyze_video(path: Path, config: AnalysisConfig, limits: DecodeConfig) -> VideoStats:
    """Look at a video or picture within `limits` (their max_pixels and duration_limit_s).

    Raises InputError, StorageError, av.FFmpegError or OSError.
    """
    with _opened(path, limits) as source:
        info, may_jump = source.info, source.clock_may_jump
        if max(info.width, info.height) > _LARGEST_ASPECT * min(info.width, info.height):
            raise InputError(Reason.UNREADABLE, f"{path}: a picture of {info.width}x{info.height} is a line")
        if not isinstance(source, PyAVSource):
            return _whole(source, config, _DENSE_S, limits)
    with open_container(path, max_pixels=limits.max_pixels) as container, Looks(info, config) as looks:
        stream = video_stream(container, path, max_pixels=limits.max_pixels)
        packets = Packets(container, stream, clock_may_jump=may_jump)
        _at_key_frames(path, packets, stream, looks, limits)
        end_s = packets.found_s
        is_short = end_s < config.decode_below_s
        enough = len(looks) >= (_ENOUGH if is_short else 1) and looks.longest_gap_s(end_s) < _LONGEST_GAP_S
        look = looks.found(end_s) if enough else None
    if look is None:  # opened again: the index of a long file is not held twice
        with _opened(path, limits) as source:
            look = _whole(source, config, _DENSE_S if is_short else _SPARSE_S, limits)
    measures = {
        **look.measures,
        "found_share": min(1.0, end_s / info.duration_s) if info.duration_s > 0 else 1.0,
        "bit_rate": 8 * packets.size_bytes / end_s if end_s > 0 else 0.0,
    }
    return replace(look, content_id=packets.content_id, measures=measures)


def _opened(path: Path, limits: DecodeConfig) -> Looked:
    return open_for_look(path, size=limits.size, max_pixels=limits.max_pixels)


def _whole(source: Looked, config: AnalysisConfig, step_s: float, limits: DecodeConfig) -> VideoStats:
    timeline, schedule = Timeline(typical_s=source.typical_s, jumps=source.clock_may_jump), Schedule(step_s)
    with Looks(source.info, config) as looks:
        for timed in source.timed_frames():
            at_s = timeline.place(timed.time_s, timed.duration_s)
            if at_s is not None and schedule.wants(at_s):
                _require_within(limits, at_s, source.path)
                looks.take(*source.shown(timed.content), at_s)
        return looks.found(0.0 if source.info.is_picture else timeline.end_s)


def _require_within(limits: DecodeConfig, at_s: float, path: Path) -> None:
    if at_s > limits.duration_limit_s:
        limit = f"longer than {limits.duration_limit_s:g} s (duration_limit_s)"
        raise InputError(Reason.TOO_LONG, f"{path}: {limit}, or its times are broken")


def _at_key_frames(path: Path, packets: Packets, stream: VideoStream, looks: Looks, limits: DecodeConfig) -> None:
    context, schedule = stream.codec_context, Schedule(_SPARSE_S)
    context.thread_type, context.thread_count = ThreadType.NONE, 1
    context.options = {"max_pixels": str(limits.max_pixels)}
    pair: _Pair | None = None
    for packet, at_s in packets.read():
        _require_within(limits, at_s, path)
        if pair is not None:
            pair.add(packet)
            if schedule.wants(at_s) or pair.count > _MOST_IN_PAIR:
                pair.close(looks)
                pair = None
        elif packet.is_keyframe and schedule.wants(at_s):
            pair = _Pair(context, float(stream.time_base or 0), at_s)
            pair.add(packet)
            if not schedule.wants_second:
                pair.close(looks)
                pair = None
    if pair is not None:
        pair.close(looks)


class _Pair:
    """A key frame, and the last of some frames behind it; of those, damaged ones are passed over."""

    def __init__(self, context: av.VideoCodecContext, tick_s: float, at_s: float) -> None:
        self._context, self._tick_s, self._at_s = context, tick_s, at_s
        self._pts: int | None = None
        self._first: av.VideoFrame | None = None
        self._last: av.VideoFrame | None = None
        self.count = 0

    def add(self, packet: av.Packet) -> None:
        if self.count == 0:
            self._pts = packet.pts
        self.count += 1
        with contextlib.suppress(av.FFmpegError):
            self._note(self._context.decode(packet))

    def close(self, looks: Looks) -> None:
        with contextlib.suppress(av.FFmpegError):
            self._note(self._context.decode(None))
        self._context.flush_buffers()
        if self._first is not None:
            looks.take(self._first, orientation(self._first), self._at_s)
        if self._first is not None and self._last is not None:
            ticks = (self._last.pts or 0) - (self._first.pts or 0)
            at_s = self._at_s + (ticks * self._tick_s if ticks > 0 else _PAIR_S)
            looks.take(self._last, orientation(self._last), at_s)

    def _note(self, frames: list[av.VideoFrame]) -> None:
        for frame in frames:
            if frame.pts is not None and self._pts is not None and frame.pts < self._pts:
                continue  # shown before the key frame, made with what lies before it
            if self._first is None:
                self._first = frame
            else:
                self._last = frame
