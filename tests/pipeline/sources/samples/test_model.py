"""The sample model: it is complete, fits the shipped tokenizer, and continues a scene."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.inference.loading import load_engine, load_tokenizer
from pipeline.inference.text_to_video import frame_codes
from pipeline.sources.samples.model import SHIPPED, write_model
from tokenizer.codec import FrameCodec
from trainer.inference.engine import EngineConfig
from trainer.inference.requests import FrameLimits, Request, Sampling

_MOST_BYTES = 20_000_000


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_model_is_copied_once_and_small(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    assert _files(model) == _files(SHIPPED)
    assert sum(map(len, _files(model).values())) < _MOST_BYTES
    assert os.access(model / "text_tokenizer", os.W_OK)
    (model / "mine").touch()
    assert write_model(tmp_path) == model
    assert (model / "mine").exists()
    assert [path.name for path in tmp_path.iterdir()] == [model.name]


def test_no_file_names_a_folder_of_the_machine_that_trained() -> None:
    assert not [name for name, data in _files(SHIPPED).items() if b"checkpoints/" in data]


@pytest.mark.slow
def test_the_model_fits_the_shipped_tokenizer_and_continues_a_scene() -> None:
    codec = FrameCodec.load("small-128")
    tokens = int(np.prod(codec.grid))
    engine, about = load_engine(SHIPPED, EngineConfig(rows=1), frame_tokens=tokens)
    vocabulary, text = about.vocabulary, load_tokenizer(SHIPPED)
    assert (vocabulary.vision_sha256, vocabulary.text_sha256) == (codec.sha256, text.sha256)
    y, x = np.mgrid[:128, :128]
    picture = np.stack([y * 2, 255 - x, np.where((y - 60) ** 2 + (x - 70) ** 2 < 900, 220, 40)], axis=-1)
    codes = codec.encode(np.repeat(picture.astype(np.uint8)[None], 4, axis=0)).reshape(4, tokens)
    frames = np.full((4, tokens + 1), vocabulary.eof, np.int64)
    frames[:, :-1] = codes + vocabulary.text_size
    asked = Request(
        prompt=np.concatenate([[vocabulary.bos_id, *vocabulary.begin_vision], frames.ravel()]),
        max_tokens=tokens + 1,
        sampling=Sampling(temperature=0.0),
        frames=FrameLimits(least=1, most=1),
    )
    (reply,) = engine.generate([asked])
    made = frame_codes(reply.ids, vocabulary, tokens)[0]
    assert (made == codes[-1]).mean() > 0.9
    assert len(set(codes[-1].tolist())) > 10  # not a plain picture, which any constant model would continue
