from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.tokenizer_jobs.frame_cache import cached_frames
from pipeline.tokenizer_jobs.train import TrainTokenizer
from pipeline.tokenizer_jobs.training_set import beside, read_trained_on
from pipeline.video.decoder import Batch, DecodeConfig, Decoder
from schemas.errors import ConfigError, DatasetError, InputError, Interrupted, Reason
from tests.support.media import make_video, numbered, read_number
from tests.support.tiny_vqgan import DOT
from tokenizer.config import CONFIGS
from tokenizer.training.config import TokenizerTrainConfig
from tokenizer.training.crops import CropConfig
from tokenizer.training.discriminator import DiscriminatorConfig
from tokenizer.training.train import WEIGHTS

pytestmark = pytest.mark.slow

SMALL = DecodeConfig(size=48, fps=5)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of ten frames on the grid, numbered 0, 5, … and 1000, 1005, …; a picture; and what is no video."""
    folder = tmp_path_factory.mktemp("videos")
    make_video(folder / "a.mp4", frames=50)
    make_video(folder / "b.mp4", frames=50, picture=lambda i: numbered(1000 + i, (96, 64)))
    Image.fromarray(np.full((60, 60, 3), 77, np.uint8)).save(folder / "c.png")
    (folder / "d.mp4").write_bytes(b"no video at all")
    return folder


def cache(videos: Path, out: Path, *, limit: int = 1000, seed: int = 0) -> np.ndarray:
    uris = [str(path) for path in sorted(videos.iterdir())]
    with Decoder(SMALL) as decoder:
        return cached_frames(uris, decoder, out, limit=limit, seed=seed, trained_on=beside(out / WEIGHTS))


def test_all_frames_of_all_videos_are_kept_with_what_they_came_from(videos: Path, tmp_path: Path) -> None:
    frames = cache(videos, tmp_path)
    assert (frames.shape, frames.dtype) == ((21, 48, 48, 3), np.uint8)
    assert [read_number(f) for f in frames[:20]] == [*range(0, 50, 5), *range(1000, 1050, 5)]
    assert frames[20].mean() == pytest.approx(77, abs=1)
    facts = json.loads((tmp_path / "frames" / "frames.json").read_text())
    assert [(Path(v["uri"]).name, v["frames"]) for v in facts["videos"]] == [("a.mp4", 10), ("b.mp4", 10), ("c.png", 1)]
    known = read_trained_on(tmp_path / "tokenizer.trained-on.parquet")
    assert [Path(uri).name for uri, _ in known] == ["a.mp4", "b.mp4", "c.png"]
    before = (tmp_path / "frames" / "frames.u8").stat().st_mtime_ns
    np.testing.assert_array_equal(cache(videos, tmp_path), frames)
    assert (tmp_path / "frames" / "frames.u8").stat().st_mtime_ns == before  # not decoded again


def test_what_came_of_a_video_before_it_broke_off_is_kept_and_told_as_trained_on(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Decoder.frames

    def broken(self: Decoder, path: Path) -> Iterator[Batch]:
        yield from whole(self, path)
        if path.name == "a.mp4":
            raise InputError(Reason.UNREADABLE, "the rest is damaged")

    monkeypatch.setattr(Decoder, "frames", broken)
    assert len(cache(videos, tmp_path)) == 21
    known = read_trained_on(tmp_path / "tokenizer.trained-on.parquet")
    assert [Path(uri).name for uri, _ in known] == ["a.mp4", "b.mp4", "c.png"]


def test_of_more_frames_than_the_limit_some_of_every_video_are_kept_the_same_each_time(
    videos: Path, tmp_path: Path
) -> None:
    one, same, other = (cache(videos, tmp_path / str(i), limit=9, seed=s) for i, s in enumerate((0, 0, 1)))
    assert len(one) == 9
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    numbers = [read_number(frame) for frame in one]
    assert any(n < 50 for n in numbers)
    assert any(1000 <= n < 1050 for n in numbers)


def test_frames_of_something_else_and_a_file_that_was_cut_short_are_refused(videos: Path, tmp_path: Path) -> None:
    cache(videos, tmp_path)
    with pytest.raises(ConfigError, match="holds frames made with other limit"):
        cache(videos, tmp_path, limit=3)
    os.truncate(tmp_path / "frames" / "frames.u8", 1000)
    with pytest.raises(DatasetError, match="missing or cut short: remove the folder"):
        cache(videos, tmp_path)


def test_no_frame_at_all_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "d.mp4").write_bytes(b"no video at all")
    with pytest.raises(InputError, match="none of the videos and images gave one"):
        cache(tmp_path / "in", tmp_path / "out")
    assert list((tmp_path / "out" / "frames").iterdir()) == []


def test_what_cannot_be_right_is_said_before_anything_is_decoded(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"crop.size is 64 pixels, but decode.size only 48"):
        TrainTokenizer(inputs=(str(videos),), out=tmp_path, decode=SMALL)
    with pytest.raises(ConfigError, match="max_frames must be at least 1, got 0"):
        TrainTokenizer(inputs=(str(videos),), out=tmp_path, max_frames=0)
    with pytest.raises(ConfigError, match="--out must be a folder"):
        TrainTokenizer(inputs=(str(videos),), out=tmp_path / "a.safetensors")(())
    train = TokenizerTrainConfig(perceptual=tmp_path / "vgg.safetensors")
    with pytest.raises(ConfigError, match="`longreel perceptual --out"):
        TrainTokenizer(inputs=(str(videos),), out=tmp_path / "out", train=train)(())
    assert not (tmp_path / "out").exists()


@pytest.fixture
def _dot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONFIGS, "dot", lambda: DOT)


@pytest.mark.usefixtures("_dot")
def test_a_signal_stops_training_cleanly_and_the_same_command_ends_where_it_would_have(
    videos: Path, tmp_path: Path
) -> None:
    train = TokenizerTrainConfig(
        architecture="dot",
        steps=60,
        batch=2,
        crop=CropConfig(size=8),
        warmup_steps=2,
        save_every=60,
        devices=1,
        discriminator=DiscriminatorConfig(weight=0),
    )
    stopped, straight = (
        TrainTokenizer(inputs=(str(videos),), out=tmp_path / name, train=train, decode=SMALL) for name in ("a", "b")
    )

    def stop() -> None:
        metrics = tmp_path / "a" / "metrics.jsonl"
        while not (metrics.is_file() and metrics.stat().st_size):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGTERM)

    waiting = threading.Thread(target=stop)
    waiting.start()
    with pytest.raises(Interrupted, match="stopped after step .* of 60; saved in"):
        stopped(())
    waiting.join()
    stopped(())
    straight(())
    assert (tmp_path / "a" / WEIGHTS).read_bytes() == (tmp_path / "b" / WEIGHTS).read_bytes()
    assert len(list((tmp_path / "a").glob("config-from-*.json"))) == 2
