"""The encoding of messages between a Decoder and its child process: JSON, and raw bytes for arrays.

Nothing is pickled: the child decodes untrusted files, and its messages are parsed as data.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from typing import Any, get_args, get_type_hints

import numpy as np

from pipeline.video.analysis.types import VideoStats
from pipeline.video.backends.registry import Backend, register_backend
from pipeline.video.messages import Analyzed, ChildSettings, ToChild, ToParent

PAYLOAD_PARTS = 6
_TYPES: dict[str, type[Any]] = {message.__name__: message for message in (*get_args(ToChild), *get_args(ToParent))}


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
        stats.activity,
        stats.thumbnail,
        stats.frames.tobytes(),
    )


def stats_from(header: Analyzed, payload: Sequence[bytes]) -> VideoStats:
    """Return the analysis that was sent as `stats_header` and `stats_payload`."""
    times, durations, signatures, activity, thumbnail, frames = payload
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
        activity=activity,
        thumbnail=thumbnail,
        frames=np.frombuffer(frames, np.uint8).reshape(header.frames_shape),
    )
