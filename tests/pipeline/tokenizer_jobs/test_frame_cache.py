from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.tokenizer_jobs.frame_cache import cached_frames
from pipeline.tokenizer_jobs.training_set import read_training_table, training_table
from pipeline.video.decoder import Batch, DecodeConfig, Decoder
from schemas.errors import ConfigError, DatasetError, InputError, Reason
from tests.support.inputs.media import read_number
from tokenizer.training.train import WEIGHTS

SMALL = DecodeConfig(size=48, fps=5)


def cache(videos: Path, out: Path, *, limit: int = 1000, seed: int = 0) -> np.ndarray:
    uris = [str(path) for path in sorted(videos.iterdir())]
    with Decoder(SMALL) as decoder:
        return cached_frames(uris, decoder, out, limit=limit, seed=seed, trained_on=training_table(out / WEIGHTS))


def test_all_frames_of_all_videos_are_cached_with_their_sources(numbered_videos: Path, tmp_path: Path) -> None:
    frames = cache(numbered_videos, tmp_path)
    assert (frames.shape, frames.dtype) == ((21, 48, 48, 3), np.uint8)
    assert [read_number(f) for f in frames[:20]] == [*range(0, 50, 5), *range(1000, 1050, 5)]
    assert frames[20].mean() == pytest.approx(77, abs=1)
    facts = json.loads((tmp_path / "frames" / "frames.json").read_text())
    assert [(Path(v["uri"]).name, v["frames"]) for v in facts["videos"]] == [
        ("a.mp4", 10),
        ("b.mp4", 10),
        ("c.png", 1),
    ]
    known = read_training_table(tmp_path / "tokenizer.trained-on.parquet")
    assert [Path(uri).name for uri, _ in known] == ["a.mp4", "b.mp4", "c.png"]
    before = (tmp_path / "frames" / "frames.u8").stat().st_mtime_ns
    np.testing.assert_array_equal(cache(numbered_videos, tmp_path), frames)
    assert (tmp_path / "frames" / "frames.u8").stat().st_mtime_ns == before  # not decoded again


def test_frames_before_a_defect_are_cached_and_recorded_as_training_set(
    numbered_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Decoder.frames

    def broken(self: Decoder, path: Path) -> Iterator[Batch]:
        yield from whole(self, path)
        if path.name == "a.mp4":
            raise InputError(Reason.UNREADABLE, "the rest is damaged")

    monkeypatch.setattr(Decoder, "frames", broken)
    assert len(cache(numbered_videos, tmp_path)) == 21
    known = read_training_table(tmp_path / "tokenizer.trained-on.parquet")
    assert [Path(uri).name for uri, _ in known] == ["a.mp4", "b.mp4", "c.png"]


def test_a_reproducible_sample_of_all_videos_is_cached_above_the_limit(numbered_videos: Path, tmp_path: Path) -> None:
    one, same, other = (cache(numbered_videos, tmp_path / str(i), limit=9, seed=s) for i, s in enumerate((0, 0, 1)))
    assert len(one) == 9
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    numbers = [read_number(frame) for frame in one]
    assert any(n < 50 for n in numbers)
    assert any(1000 <= n < 1050 for n in numbers)


def test_a_cache_with_other_options_or_a_truncated_file_is_rejected(numbered_videos: Path, tmp_path: Path) -> None:
    cache(numbered_videos, tmp_path)
    with pytest.raises(ConfigError, match="contains frames decoded with different limit"):
        cache(numbered_videos, tmp_path, limit=3)
    os.truncate(tmp_path / "frames" / "frames.u8", 1000)
    with pytest.raises(DatasetError, match="missing or truncated: remove the folder"):
        cache(numbered_videos, tmp_path)


def test_a_training_set_without_frames_is_an_error_and_leaves_no_cache(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "d.mp4").write_bytes(b"no video at all")
    with pytest.raises(InputError, match="no video or image could be decoded"):
        cache(tmp_path / "in", tmp_path / "out")
    assert list((tmp_path / "out" / "frames").iterdir()) == []
