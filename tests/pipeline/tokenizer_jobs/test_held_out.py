"""Items of the training set and of the split `train`, and those that cannot be read, are not held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.sources.access import AccessConfig
from pipeline.tokenizer_jobs.held_out import HeldOut
from pipeline.tokenizer_jobs.training_set import signature_of, training_table, write_training_table
from pipeline.video.decoder import DecodeConfig, Decoder
from schemas.errors import ConfigError, InputError, Reason
from tests.support.inputs.media import make_video
from tests.support.vqgan.tiny_vqgan import tiny_weights
from tokenizer.checkpoints import checkpoint


@pytest.mark.slow
def test_they_are_excluded_with_a_reason(tmp_path: Path) -> None:
    weights, videos = tmp_path / "tiny.safetensors", tmp_path / "videos"
    checkpoint.save(weights, tiny_weights())
    videos.mkdir()
    for n, name in enumerate(("trained.mp4", "held.mp4", "poor.mp4")):
        patches = np.random.default_rng(n).integers(0, 256, (4, 4, 3), np.uint8).repeat(16, 0).repeat(16, 1)
        make_video(videos / name, frames=20, picture=lambda i, patches=patches: np.roll(patches, 4 * i, 1))
    (videos / "broken.mp4").write_bytes(b"no video")

    def measure(path: Path) -> int:
        if path.read_bytes() == (videos / "poor.mp4").read_bytes():
            raise InputError(Reason.EMPTY, "too poor")
        return path.stat().st_size

    with Decoder(DecodeConfig(size=16)) as decoder:
        write_training_table(training_table(weights), [("x", signature_of(decoder, videos / "trained.mp4"))])
        given = HeldOut((str(videos),), AccessConfig(), vision=str(weights), command="eval videos")
        [(uri, size)] = given.measured(decoder, measure).items()
        assert Path(uri).name == "held.mp4"
        assert size == (videos / "held.mp4").stat().st_size
        why = {Path(uri).name: reason for uri, reason in given.excluded.items()}
        assert why.keys() == {"trained.mp4", "poor.mp4", "broken.mp4"}
        assert why["trained.mp4"] == "in the training set, as x"
        assert given.training_set_known
        whole = HeldOut((str(videos / "trained.mp4"),), AccessConfig(), vision=None, command="eval videos")
        assert [Path(uri).name for uri in whole.measured(decoder, measure)] == ["trained.mp4"]
        only = HeldOut((str(videos / "poor.mp4"),), AccessConfig(), vision=None, command="eval videos")
        with pytest.raises(ConfigError, match="1 item given, all excluded"):
            only.measured(decoder, measure)
