from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from pipeline.tokenizer_jobs.train import TrainTokenizer
from pipeline.video.decoder import DecodeConfig
from schemas.errors import ConfigError, Interrupted
from tests.support.vqgan.tiny_vqgan import DOT
from tokenizer.config import CONFIGS
from tokenizer.training.config import TokenizerTrainConfig
from tokenizer.training.crops import CropConfig
from tokenizer.training.discriminator import DiscriminatorConfig
from tokenizer.training.train import WEIGHTS

pytestmark = pytest.mark.slow

SMALL = DecodeConfig(size=48, fps=5)


def test_invalid_options_are_rejected_before_decoding(numbered_videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"crop.size is 64 pixels, but decode.size is 48"):
        TrainTokenizer(inputs=(str(numbered_videos),), out=tmp_path, decode=SMALL)
    with pytest.raises(ConfigError, match="max_frames must be at least 1, got 0"):
        TrainTokenizer(inputs=(str(numbered_videos),), out=tmp_path, max_frames=0)
    with pytest.raises(ConfigError, match="--out must be a folder"):
        TrainTokenizer(inputs=(str(numbered_videos),), out=tmp_path / "a.safetensors")(())
    train = TokenizerTrainConfig(perceptual=tmp_path / "vgg.safetensors")
    with pytest.raises(ConfigError, match="`longreel perceptual --out"):
        TrainTokenizer(inputs=(str(numbered_videos),), out=tmp_path / "out", train=train)(())
    assert not (tmp_path / "out").exists()


@pytest.fixture
def _dot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONFIGS, "dot", lambda: DOT)


@pytest.mark.campaign
@pytest.mark.usefixtures("_dot")
def test_a_signal_interrupts_training_and_the_same_command_resumes_to_the_same_weights(
    numbered_videos: Path, tmp_path: Path
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
        TrainTokenizer(inputs=(str(numbered_videos),), out=tmp_path / name, train=train, decode=SMALL)
        for name in ("a", "b")
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
