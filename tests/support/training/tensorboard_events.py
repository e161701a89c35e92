"""Reads the event files that TensorBoard logs consist of."""

from __future__ import annotations

import struct
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event


def read_events(run: Path) -> list[Event]:
    """Return all events of the files in `run/tensorboard`, oldest file first.

    A record is its length, a checksum, the payload and another checksum.
    """
    events = []
    for path in sorted(run.glob("tensorboard/*"), key=lambda p: p.stat().st_mtime_ns):
        data = path.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            events.append(Event.FromString(data[12 : 12 + size]))
            data = data[16 + size :]
    return events
