"""Messages between a Decoder and its child process: frozen dataclasses, sent as JSON.

    parent -> child   ProbeRequest, SubtitlesRequest, AnalyzeRequest, FramesRequest
                      FreeSlot (a batch was copied), StopRequest (no more frames are needed)
    child -> parent   Ready (once), Started (a request was taken)
                      FramesReady (a batch is in shared memory)
                      Probed, SubtitlesRead, Analyzed, FramesDecoded, Stopped, Failed, StorageFailed (end of a request)

`Analyzed` is followed by five messages of raw bytes (`stats_payload`). All sequences are tuples.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

import numpy as np

from pipeline.video.analysis.types import AnalysisConfig, VideoStats
from pipeline.video.backends.registry import Backend, register_backend
from pipeline.video.geometry import Crop
from pipeline.video.shots.detector import Shots
from pipeline.video.types import DecodeConfig, DecodeReport, SubtitleLine, VideoInfo

PAYLOAD_PARTS = 5


@dataclass(frozen=True)
class ProbeRequest:
    """Describe a video."""

    id: int
    path: str


@dataclass(frozen=True)
class SubtitlesRequest:
    """Read a text subtitle stream."""

    id: int
    path: str


@dataclass(frozen=True)
class AnalyzeRequest:
    """Analyze a video from sampled frames."""

    id: int
    path: str
    config: AnalysisConfig


@dataclass(frozen=True)
class FramesRequest:
    """Decode a video onto the time grid."""

    id: int
    path: str
    crop: Crop | None
    shots: Shots


Request = ProbeRequest | SubtitlesRequest | AnalyzeRequest | FramesRequest


@dataclass(frozen=True)
class FreeSlot:
    """A slot of the shared memory can be written again."""

    slot: int


@dataclass(frozen=True)
class StopRequest:
    """Stop the request `id`, if it still runs."""

    id: int


@dataclass(frozen=True)
class Ready:
    """The child has started."""


@dataclass(frozen=True)
class Started:
    """The child has taken the request `id`."""

    id: int


@dataclass(frozen=True)
class FramesReady:
    """A slot of the shared memory holds the next `count` frames."""

    id: int
    slot: int
    count: int


@dataclass(frozen=True)
class Probed:
    """Result of a ProbeRequest."""

    id: int
    info: VideoInfo


@dataclass(frozen=True)
class SubtitlesRead:
    """Result of a SubtitlesRequest."""

    id: int
    lines: tuple[SubtitleLine, ...]


@dataclass(frozen=True)
class Analyzed:
    """Result of an AnalyzeRequest; the arrays follow as bytes."""

    id: int
    info: VideoInfo
    content_id: str | None
    crop: Crop
    measures: dict[str, float]
    frames_shape: tuple[int, ...]


@dataclass(frozen=True)
class FramesDecoded:
    """Result of a FramesRequest, after its last batch."""

    id: int
    report: DecodeReport


@dataclass(frozen=True)
class Stopped:
    """A request was stopped."""

    id: int


@dataclass(frozen=True)
class Failed:
    """The request failed because of its input; `reason` is a `schemas.errors.Reason`."""

    id: int
    reason: str
    message: str


@dataclass(frozen=True)
class StorageFailed:
    """The request failed because the disk is full or not writable."""

    id: int
    message: str


Reply = FramesReady | Probed | SubtitlesRead | Analyzed | FramesDecoded | Stopped | Failed | StorageFailed
ToChild = Request | FreeSlot | StopRequest
ToParent = Ready | Started | Reply

_TYPES: dict[str, type[Any]] = {message.__name__: message for message in (*get_args(ToChild), *get_args(ToParent))}


@dataclass(frozen=True)
class ChildSettings:
    """What the child process is started with: inherited file descriptors and its configuration."""

    pipe: int
    lifeline: int
    ring: int
    backend: Backend
    config: DecodeConfig


def encode(message: ToChild | ToParent) -> bytes:
    """Return a message as JSON."""
    return json.dumps({"type": type(message).__name__, **dataclasses.asdict(message)}).encode()


def decode(data: bytes) -> Any:
    """Return the message that `encode` wrote. Raises ValueError for anything else."""
    fields = json.loads(data)
    try:
        return _from_fields(_TYPES[fields.pop("type")], fields)
    except (KeyError, TypeError, AttributeError) as e:
        raise ValueError(f"not a message between decoder processes: {data[:80]!r}") from e


def encode_settings(settings: ChildSettings) -> str:
    """Return settings as JSON."""
    return json.dumps(dataclasses.asdict(settings))


def decode_settings(text: str) -> ChildSettings:
    """Return the settings that `encode_settings` wrote, and register their backend in this process."""
    fields = json.loads(text)
    register_backend(Backend(**fields["backend"]))
    settings: ChildSettings = _from_fields(ChildSettings, fields)
    return settings


def _from_fields(kind: Any, fields: dict[str, Any]) -> Any:
    """Create a dataclass, and the dataclasses in it, from parsed JSON."""
    hints = _hints(kind)
    return kind(**{name: _value(hints[name], value) for name, value in fields.items()})


def _value(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return _from_fields(hint, value)
    return _as_tuples(value)


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(v) for v in value) if isinstance(value, list) else value


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def stats_header(request: int, stats: VideoStats) -> Analyzed:
    """Return the part of an analysis that is sent as JSON."""
    return Analyzed(request, stats.info, stats.content_id, stats.crop, stats.measures, stats.frames.shape)


def stats_payload(stats: VideoStats) -> tuple[bytes, ...]:
    """Return the part of an analysis that is sent as bytes, `PAYLOAD_PARTS` messages."""
    return (
        stats.times_s.tobytes(),
        stats.durations_s.tobytes(),
        b"".join(stats.signatures),
        stats.thumbnail,
        stats.frames.tobytes(),
    )


def stats_from(header: Analyzed, payload: Sequence[bytes]) -> VideoStats:
    """Return the analysis that was sent as `stats_header` and `stats_payload`."""
    times, durations, signatures, thumbnail, frames = payload
    times_s = np.frombuffer(times, np.float64)
    size = len(signatures) // len(times_s)
    return VideoStats(
        info=header.info,
        content_id=header.content_id,
        crop=header.crop,
        measures=header.measures,
        times_s=times_s,
        durations_s=np.frombuffer(durations, np.float64),
        signatures=tuple(signatures[i * size : (i + 1) * size] for i in range(len(times_s))),
        thumbnail=thumbnail,
        frames=np.frombuffer(frames, np.uint8).reshape(header.frames_shape),
    )
