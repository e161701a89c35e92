"""Flips single bits of files, as failing disks and memory do."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np


def flipped(data: bytes, bit: int) -> bytes:
    """Return `data` with one bit flipped; bit 8·i + b is bit b of byte i."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def flips(path: Path, count: int, *, seed: int = 0) -> Generator[int]:
    """Flip `count` bits of a file, one at a time, and yield the number of each; restores the file at the end.

    The bits are different ones at random places, all of them if the file has no more.
    """
    data = path.read_bytes()
    bits = np.random.default_rng([seed, len(data)]).choice(8 * len(data), min(count, 8 * len(data)), replace=False)
    try:
        for bit in bits.tolist():
            path.write_bytes(flipped(data, bit))
            yield bit
    finally:
        path.write_bytes(data)
