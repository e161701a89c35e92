"""Synthetic media: they move, are text, and are the same every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.sources.manifest import read_manifest
from pipeline.sources.samples.media import synthesize
from pipeline.sources.samples.synthetic import write_synthetic_media
from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.rows import manifest_table


@pytest.mark.slow
def test_media_are_moving_videos_and_books_and_are_reproducible(tmp_path: Path) -> None:
    first, second = (synthesize(tmp_path / name, videos=2, frames=10).parent for name in ("a", "b"))
    items = manifest_table(read_manifest([str(first / "manifest.jsonl")]).items).to_pylist()
    assert {item["kind"] for item in items} == {"video", "book"}
    assert {item["split"] for item in items} == {"train", "val"}
    with Decoder(DecodeConfig(fps=10)) as decoder:
        frames = np.concatenate([f for f, _ in decoder.frames(first / "videos" / "discs-0.gif")])
    assert len(frames) >= 8
    assert np.abs(np.diff(frames.astype(int), axis=0)).mean() > 0.5  # the discs move
    for path in first.rglob("*.*"):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()


def test_first_video_and_book_are_validation_data(tmp_path: Path) -> None:
    rows = write_synthetic_media(tmp_path, videos=2, frames=2)
    assert [row["uri"] for row in rows if row["split"] == "val"] == ["videos/discs-0.gif", "books/reference-0.txt"]
    assert all((tmp_path / row["uri"]).is_file() for row in rows)
