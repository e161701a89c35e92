"""Analyzes a video from sampled frames; cheap whatever the video's length.

All packets are read once, in order, for the content hash. On the way key frames are decoded, at most one every two
seconds, and twice a minute also the frames of the following half second, which show motion. Nothing is seeked, so a
file without an index costs the same. Where key frames give too few samples (short clips, screen recordings with one
key frame) the video is decoded completely and sampled twice a second, or every two seconds if it is long.

Cost for 720p H.264 on one core: benchmarks/survey.py.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import av
import av.container
from av.video.stream import VideoStream

from pipeline.video.analysis.frame_schedule import DENSE_S, PAIR_S, SPARSE_S, FrameSchedule
from pipeline.video.analysis.packets import PacketReader
from pipeline.video.analysis.summary import FrameSummary
from pipeline.video.analysis.types import AnalysisConfig, VideoStats
from pipeline.video.backends.container import open_container
from pipeline.video.backends.opening import open_for_analysis
from pipeline.video.backends.pyav import PyAVSource, orientation
from pipeline.video.backends.source import AnalysisSource
from pipeline.video.backends.stream_choice import open_decoder, video_stream
from pipeline.video.time_grid import Timeline
from pipeline.video.types import DecodeConfig
from schemas.errors import InputError, Reason

_MAX_PAIR_PACKETS = 250
_MIN_SAMPLES = 16  # of a short video
_MAX_GAP_S = 60.0  # without a sampled frame
_MAX_ASPECT_RATIO = 100
_MAX_SHORT_S = 0.5  # by which the duration in a header may fall short of the packets


def analyze_video(path: Path, config: AnalysisConfig, limits: DecodeConfig) -> VideoStats:
    """Analyze a video or picture within `limits` (max_pixels and duration_limit_s).

    Raises InputError, StorageError, av.FFmpegError or OSError.
    """
    with _open(path, limits) as source:
        info, allows_jumps = source.info, source.allows_jumps
        if max(info.width, info.height) > _MAX_ASPECT_RATIO * min(info.width, info.height):
            raise InputError(
                Reason.UNREADABLE,
                f"{path}: a picture of {info.width}x{info.height} is too narrow; the limit is {_MAX_ASPECT_RATIO} to 1",
            )
        if not isinstance(source, PyAVSource):
            return _from_all_frames(source, config, DENSE_S, limits)
    with (
        open_container(path, max_pixels=limits.max_pixels) as container,
        FrameSummary(info, config) as summary,
    ):
        stream = video_stream(container, path, max_pixels=limits.max_pixels)
        packets = PacketReader(container, stream, allows_jumps=allows_jumps)
        _sample_key_frames(path, packets, stream, summary, limits)
        end_s = packets.end_s
        is_short = end_s < config.decode_below_s
        is_enough = len(summary) >= (_MIN_SAMPLES if is_short else 1) and summary.max_gap_s(end_s) < _MAX_GAP_S
        stats = summary.stats(end_s) if is_enough else None
    if stats is None:  # opened again, so that the index of a long file is in memory only once
        with _open(path, limits) as source:
            stats = _from_all_frames(source, config, DENSE_S if is_short else SPARSE_S, limits)
    if end_s > info.duration_s + _MAX_SHORT_S:  # the header is wrong
        info = replace(info, duration_s=end_s)
    measures = {
        **stats.measures,
        "found_share": min(1.0, end_s / info.duration_s) if info.duration_s > 0 else 1.0,
        "bit_rate": 8 * packets.size_bytes / end_s if end_s > 0 else 0.0,
    }
    return replace(stats, info=info, content_id=packets.content_id, measures=measures)


def _open(path: Path, limits: DecodeConfig) -> AnalysisSource:
    return open_for_analysis(path, size=limits.size, max_pixels=limits.max_pixels)


def _from_all_frames(source: AnalysisSource, config: AnalysisConfig, step_s: float, limits: DecodeConfig) -> VideoStats:
    timeline = Timeline(source.default_duration_s, allows_jumps=source.allows_jumps)
    schedule = FrameSchedule(step_s)
    with FrameSummary(source.info, config) as summary:
        for frame in source.timed_frames():
            time_s = timeline.place(frame.time_s, frame.duration_s)
            if time_s is not None and schedule.accepts(time_s):
                _require_within(limits, time_s, source.path)
                summary.add(*source.oriented_frame(frame.content), time_s)
        return summary.stats(0.0 if source.info.is_picture else timeline.end_s)


def _require_within(limits: DecodeConfig, time_s: float, path: Path) -> None:
    if time_s > limits.duration_limit_s:
        raise InputError(
            Reason.TOO_LONG,
            f"{path}: longer than {limits.duration_limit_s:g} s (duration_limit_s), or its timestamps are broken",
        )


def _sample_key_frames(
    path: Path, packets: PacketReader, stream: VideoStream, summary: FrameSummary, limits: DecodeConfig
) -> None:
    context, _ = open_decoder(stream, max_pixels=limits.max_pixels)
    schedule = FrameSchedule(SPARSE_S)
    decoding: _KeyFrameDecoder | None = None
    for packet, time_s in packets.read():
        _require_within(limits, time_s, path)
        if decoding is not None:
            decoding.add(packet)
            if schedule.accepts(time_s) or decoding.count > _MAX_PAIR_PACKETS:
                decoding.finish(summary)
                decoding = None
        elif packet.is_keyframe and schedule.accepts(time_s):
            decoding = _KeyFrameDecoder(context, float(stream.time_base or 0), time_s)
            decoding.add(packet)
            if not schedule.expects_second:
                decoding.finish(summary)
                decoding = None
    if decoding is not None:
        decoding.finish(summary)


class _KeyFrameDecoder:
    """Decodes a key frame and, for a pair, the frames after it, of which the last is sampled. Ignores damage."""

    def __init__(self, context: av.VideoCodecContext, tick_s: float, time_s: float) -> None:
        self._context, self._tick_s, self._time_s = context, tick_s, time_s
        self._pts: int | None = None
        self._first: av.VideoFrame | None = None
        self._last: av.VideoFrame | None = None
        self.count = 0

    def add(self, packet: av.Packet) -> None:
        if self.count == 0:
            self._pts = packet.pts
        self.count += 1
        with contextlib.suppress(av.FFmpegError):
            self._take(self._context.decode(packet))

    def finish(self, summary: FrameSummary) -> None:
        with contextlib.suppress(av.FFmpegError):
            self._take(self._context.decode(None))
        self._context.flush_buffers()
        if self._first is not None:
            summary.add(self._first, orientation(self._first), self._time_s)
        if self._first is not None and self._last is not None:
            ticks = (self._last.pts or 0) - (self._first.pts or 0)
            time_s = self._time_s + (ticks * self._tick_s if ticks > 0 else PAIR_S)
            summary.add(self._last, orientation(self._last), time_s)

    def _take(self, frames: list[av.VideoFrame]) -> None:
        for frame in frames:
            if frame.pts is not None and self._pts is not None and frame.pts < self._pts:
                continue  # shown before the key frame, and predicted from frames that were not decoded
            if self._first is None:
                self._first = frame
            else:
                self._last = frame
