"""Encoding of messages and settings: every type survives JSON, and other data is rejected."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.video import message_codec
from pipeline.video.analysis.types import AnalysisConfig, VideoStats
from pipeline.video.backends.registry import Backend
from pipeline.video.message_codec import (
    PAYLOAD_PARTS,
    decode,
    decode_settings,
    encode,
    encode_settings,
    stats_from,
    stats_header,
    stats_payload,
)
from pipeline.video.messages import (
    AnalyzeRequest,
    ChildSettings,
    Failed,
    FramesDecoded,
    FramesReady,
    FramesRequest,
    FreeSlot,
    Probed,
    ProbeRequest,
    Ready,
    Started,
    Stopped,
    StopRequest,
    StorageFailed,
    SubtitlesRead,
    SubtitlesRequest,
)
from pipeline.video.types import DecodeConfig, DecodeReport, VideoInfo
from schemas.errors import Reason

INFO = VideoInfo(
    container="mov",
    codec="h264",
    pix_fmt="yuv420p",
    width=96,
    height=64,
    coded_width=96,
    coded_height=64,
    rotation=0,
    flipped=False,
    sar=1.0,
    frame_rate=25.0,
    duration_s=2.0,
    start_s=0.0,
    bit_depth=8,
    full_range=False,
    hdr=False,
    interlaced=False,
    has_audio=True,
    subtitle_streams=0,
    is_picture=False,
)
REPORT = DecodeReport(
    10, 10, 2.0, 2.0, 50, 0, 0, 0, 0, interlaced=False, detail="", shots=(0.0, 1.2), shot_frames=(0, 5)
)
STATS = VideoStats(
    info=INFO,
    content_id="ab",
    crop=(0, 1, 96, 62),
    measures={"motion": 0.5},
    times_s=np.array([0.0, 0.5]),
    durations_s=np.array([0.5, 1.5]),
    signatures=(b"abcd", b"efgh"),
    activity=b"\x10\x20",
    thumbnail=b"webp",
    frames=np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3),
)
MESSAGES = [
    ProbeRequest(1, "/a/ä.mp4"),
    SubtitlesRequest(2, "/a.mp4"),
    AnalyzeRequest(3, "/a.mp4", AnalysisConfig(thumbnails=2, frames=True)),
    FramesRequest(4, "/a.mp4", (1, 2, 3, 4), "content"),
    FramesRequest(5, "/a.mp4", None, "none"),
    FreeSlot(0),
    StopRequest(4),
    Ready(),
    Started(1),
    FramesReady(4, 1, 16),
    Probed(1, INFO),
    SubtitlesRead(2, ((0.0, 1.5, "one"), (2.0, 2.5, "two\nlines"))),
    stats_header(3, STATS),
    FramesDecoded(4, REPORT),
    Stopped(4),
    Failed(4, Reason.UNREADABLE, "/a.mp4: not a video"),
    StorageFailed(3, "disk full"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_message_survives_json(message: object) -> None:
    assert decode(encode(message)) == message  # type: ignore[arg-type]


def test_every_message_type_is_tested() -> None:
    assert {type(message).__name__ for message in MESSAGES} == set(message_codec._TYPES)


@pytest.mark.parametrize("data", [b"{}", b"[]", b'{"type": "Other"}', b'{"type": "FreeSlot"}', b"not JSON"])
def test_other_data_is_rejected(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode(data)


def test_stats_survive_as_a_header_and_bytes() -> None:
    payload = stats_payload(STATS)
    assert len(payload) == PAYLOAD_PARTS
    received = stats_from(decode(encode(stats_header(3, STATS))), payload)
    assert np.array_equal(received.frames, STATS.frames)
    assert np.array_equal(received.times_s, STATS.times_s)
    assert np.array_equal(received.durations_s, STATS.durations_s)
    assert (received.info, received.content_id, received.crop, received.measures) == (
        INFO,
        "ab",
        (0, 1, 96, 62),
        {"motion": 0.5},
    )
    assert (received.signatures, received.thumbnail) == (STATS.signatures, b"webp")


def test_settings_survive_json() -> None:
    backend = Backend("pyav", "pipeline.video.backends.pyav:PyAVSource")
    settings = ChildSettings(3, 4, 5, backend, DecodeConfig(size=64, fps=2.5))
    assert decode_settings(encode_settings(settings)) == settings
