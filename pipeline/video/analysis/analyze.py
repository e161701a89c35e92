"""Analyzes a video from sampled frames; cheap whatever the video's length.

All packets are read once, in order, for the content hash. On the way key frames are decoded, at most one every two
seconds, and bursts of frames that end at fixed times (`pipeline.video.analysis.key_frames`). Nothing is seeked, so a
file without an index costs the same. Where key frames give too few samples (short clips, screen recordings with one
key frame) the video is decoded completely and sampled four times a second, or every two seconds and in bursts if it is
long.

Cost for 720p H.264 on one core: benchmarks/survey.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from av.video.stream import VideoStream

from pipeline.video.analysis.frame_schedule import CLIP_S, BurstSchedule, FrameSchedule
from pipeline.video.analysis.key_frames import KeyFrameSampler
from pipeline.video.analysis.packets import PacketReader
from pipeline.video.analysis.summary import FrameSummary
from pipeline.video.analysis.types import AnalysisConfig, VideoStats
from pipeline.video.backends.container import open_container
from pipeline.video.backends.opening import open_for_analysis
from pipeline.video.backends.pyav import PyAVSource
from pipeline.video.backends.source import AnalysisSource
from pipeline.video.backends.stream_choice import open_decoder, video_stream
from pipeline.video.time_grid import Timeline
from pipeline.video.types import DecodeConfig
from schemas.errors import InputError, Reason

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
            return _from_all_frames(source, config, FrameSchedule(CLIP_S), limits)
    with (
        open_container(path, max_pixels=limits.max_pixels) as container,
        FrameSummary(info, config) as summary,
    ):
        stream = video_stream(container, path, max_pixels=limits.max_pixels)
        packets = PacketReader(container, stream, allows_jumps=allows_jumps)
        # A video that may prove short is decoded completely, which a burst would only delay.
        bursts_from_s = 0.0 if info.duration_s >= config.decode_below_s else config.decode_below_s
        _sample_key_frames(path, packets, stream, summary, limits, bursts_from_s)
        end_s = packets.end_s
        is_short = end_s < config.decode_below_s
        is_enough = len(summary) >= (_MIN_SAMPLES if is_short else 1) and summary.max_gap_s(end_s) < _MAX_GAP_S
        stats = summary.stats(end_s) if is_enough else None
    if stats is None:  # opened again, so that the index of a long file is in memory only once
        with _open(path, limits) as source:
            schedule = FrameSchedule(CLIP_S) if is_short else BurstSchedule()
            stats = _from_all_frames(source, config, schedule, limits)
    if end_s > info.duration_s + _MAX_SHORT_S:  # the header is wrong
        info = replace(info, duration_s=end_s)
    measures = {
        **stats.measures,
        "found_share": min(1.0, end_s / info.duration_s) if info.duration_s > 0 else 1.0,
        "bit_rate": 8 * packets.size_bytes / end_s if end_s > 0 else 0.0,
    }
    return replace(stats, info=info, content_id=packets.content_id, measures=measures, activity=packets.activity)


def _open(path: Path, limits: DecodeConfig) -> AnalysisSource:
    return open_for_analysis(path, size=limits.size, max_pixels=limits.max_pixels)


def _from_all_frames(
    source: AnalysisSource, config: AnalysisConfig, schedule: FrameSchedule | BurstSchedule, limits: DecodeConfig
) -> VideoStats:
    timeline = Timeline(source.default_duration_s, allows_jumps=source.allows_jumps)
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
    path: Path,
    packets: PacketReader,
    stream: VideoStream,
    summary: FrameSummary,
    limits: DecodeConfig,
    bursts_from_s: float,
) -> None:
    context, _ = open_decoder(stream, max_pixels=limits.max_pixels)
    sampler = KeyFrameSampler(context, summary, bursts_from_s=bursts_from_s)
    for packet, time_s in packets.read():
        _require_within(limits, time_s, path)
        sampler.add(packet, time_s)
    sampler.finish()
