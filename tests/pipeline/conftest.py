"""Tokenizers, and a workspace of clips, that tests of several packages read."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.runtime.workspace import Workspace
from tests.support.stages import Models, Reports, run_on_clips, write_shots
from tests.support.vqgan.tiny_vqgan import tiny_weights_of_varied_codes
from tokenizer.checkpoints import checkpoint
from tokenizer.text.sentencepiece import TextTrainConfig, train_text_tokenizer

SENTENCES = [
    "a caption somebody speaks twice and once more\n",
    "It was a bright cold day, and the clocks were striking thirteen. {}\n",
]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """A text model and a tiny VQGAN, both as files."""
    folder = tmp_path_factory.mktemp("models")
    text = train_text_tokenizer(SENTENCES, folder / "text.model", TextTrainConfig(vocab_size=512))
    vision = folder / "tiny.safetensors"
    checkpoint.save(vision, tiny_weights_of_varied_codes())
    return Models(text, str(vision))


@pytest.fixture(scope="session")
def shots_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of three shots with a caption and cues, one of a single shot, and a book."""
    return write_shots(tmp_path_factory.mktemp("shots"))


@pytest.fixture(scope="session")
def clips(shots_folder: Path, models: Models, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Reports]:
    """The workspace, tokenized and packed, in which each shot of `shots_folder` is a document; and the reports.

    Tests must not change it.
    """
    return run_on_clips(shots_folder, tmp_path_factory.mktemp("clips") / "out", models)
