"""Synthetic media: GIFs of moving discs, and the Python reference as books. Needs no network, and is reproducible."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from schemas.files import atomic

_FRAME_MS = 80
_BOOKS = 8


def write_synthetic_media(out: Path, *, videos: int = 8, frames: int = 96) -> list[dict[str, str]]:
    """Write videos of `frames` frames and books to `out`; return the rows of their manifest."""
    rows = [_write_video(out, seed, frames) for seed in range(videos)]
    rows += _write_books(out)
    return [row | {"source": "made by longreel samples", "license": "CC0-1.0; books: PSF-2.0"} for row in rows]


def _write_video(out: Path, seed: int, frames: int) -> dict[str, str]:
    pictures = [Image.fromarray(frame) for frame in _moving_discs(seed, frames)]
    path = out / "videos" / f"discs-{seed}.gif"
    with atomic(path) as temporary:
        pictures[0].save(temporary, format="GIF", save_all=True, append_images=pictures[1:], duration=_FRAME_MS)
    facts = {"kind": "video", "captions": "Colored discs move over a plain ground."}
    return {"uri": f"videos/{path.name}", "split": _split(seed), **facts}


def _write_books(out: Path) -> list[dict[str, str]]:
    from pydoc_data.topics import topics  # 0.7 MB of real text in every Python installation

    names = sorted(topics)
    rows = []
    for number in range(_BOOKS):
        path = out / "books" / f"reference-{number}.txt"
        with atomic(path) as temporary:
            temporary.write_bytes("\n\n".join(topics[name] for name in names[number::_BOOKS]).encode())
        rows.append({"uri": f"books/{path.name}", "kind": "book", "split": _split(number)})
    return rows


def _split(number: int) -> str:
    return "val" if number == 0 else "train"


def _moving_discs(seed: int, frames: int) -> Iterator[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    height, width = 144, 176
    y, x = np.mgrid[:height, :width]
    ground, colors = rng.integers(40, 216, 3), rng.integers(0, 256, (3, 3))
    centers, speeds, radii = rng.uniform(30, 110, (3, 2)), rng.uniform(-3, 3, (3, 2)), rng.uniform(12, 30, 3)
    for t in range(frames):
        frame = np.broadcast_to(ground, (height, width, 3)).astype(np.uint8)
        for center, speed, radius, color in zip(centers, speeds, radii, colors, strict=True):
            at = np.abs((center + speed * t) % (2 * np.array([height, width])) - np.array([height, width]))
            frame[(y - at[0]) ** 2 + (x - at[1]) ** 2 < radius**2] = color
        yield frame
