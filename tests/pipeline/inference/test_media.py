"""Media become ids as in the training data: codes, `<eof>` between frames, `<eov>` at the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.inference.media import MediaEncoder, choose_frames
from pipeline.language_models.chat import Media
from schemas.errors import ConfigError, VocabularyMismatch
from schemas.vocab import Vocabulary
from tests.support.inputs.media import make_video
from tests.support.training.training_dataset import VOCABULARY
from tests.support.vqgan.tiny_vqgan import tiny_weights
from tokenizer.codec import FrameCodec

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def codec() -> FrameCodec:
    return FrameCodec(tiny_weights(), sha256="a" * 64)


@pytest.fixture(scope="module")
def vocabulary(codec: FrameCodec) -> Vocabulary:
    return replace(VOCABULARY, vision_sha256="a" * 64, codebook_size=codec.codebook_size)


def test_frames_are_chosen_at_equal_distances() -> None:
    frames = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
    assert choose_frames(frames, 4).ravel().tolist() == [0, 3, 6, 9]
    assert choose_frames(frames, 1).ravel().tolist() == [0]
    assert choose_frames(frames, 20).ravel().tolist() == list(range(10))


def test_a_video_has_codes_and_marks(codec: FrameCodec, vocabulary: Vocabulary, tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", frames=6, rate=1)
    ids = MediaEncoder(codec, vocabulary, most_frames=3)(Media("video", video), room=0)
    rows = ids.reshape(3, -1)
    assert rows[:, -1].tolist() == [vocabulary.eof, vocabulary.eof, vocabulary.eov]
    assert ((rows[:, :-1] >= vocabulary.text_size) & (rows[:, :-1] < vocabulary.eof)).all()
    assert rows.shape[1] == codec.grid[0] * codec.grid[1] + 1
    filling = MediaEncoder(codec, vocabulary, most_frames=0)
    assert [filling(Media("video", video), room=room).size for room in (0, rows[:2].size + 1)] == [
        rows[0].size,
        rows[:2].size,
    ]


def test_of_a_long_video_few_frames_are_held(
    codec: FrameCodec, vocabulary: Vocabulary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = make_video(tmp_path / "a.mp4", frames=40, rate=1)
    encoder = MediaEncoder(codec, vocabulary, most_frames=1)
    every = encoder._frames(video, 1)
    monkeypatch.setattr("pipeline.inference.media._MOST_HELD", 8)
    held = encoder._frames(video, 1)
    assert len(every) == 40
    assert (held == every[:: 40 // len(held)][: len(held)]).all()
    assert len(held) <= 8


def test_another_vqgan_or_a_model_without_vision_is_refused(codec: FrameCodec, vocabulary: Vocabulary) -> None:
    with pytest.raises(VocabularyMismatch, match=rf"SHA-256 {codec.sha256}, but the frames were encoded with b{{64}}"):
        MediaEncoder(codec, replace(vocabulary, vision_sha256="b" * 64))
    with pytest.raises(ConfigError, match="most_frames must not be negative"):
        MediaEncoder(codec, vocabulary, most_frames=-1)
