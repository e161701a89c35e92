"""A run is loaded into an engine, with the document grammar if frames are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.inference.loading import load_engine
from schemas.errors import ConfigError
from schemas.storage.location import located
from tests.support.training.training_dataset import VOCABULARY, write_dataset
from trainer.inference.engine import EngineConfig
from trainer.run.config import TrainConfig
from trainer.run.loop import train
from trainer.run.model_options import ModelOptions

pytestmark = pytest.mark.slow


def test_the_newest_checkpoint_is_loaded(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "set", context=128)
    train(
        TrainConfig(
            dataset=(located(dataset),), out=tmp_path / "run", model=ModelOptions(recipe="debug"), steps=1, batch_size=8
        )
    )
    engine, description = load_engine(tmp_path / "run", EngineConfig(block=32), frame_tokens=4)
    assert (engine.size, engine.config.block, description.context_length) == (VOCABULARY.size, 32, 128)
    assert engine.grammar is not None
    assert load_engine(tmp_path / "run", EngineConfig())[0].grammar is None
    with pytest.raises(ConfigError, match="has no moving average of the parameters"):
        load_engine(tmp_path / "run", EngineConfig(), weights="ema")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not the output of `longreel train`"):
        load_engine(tmp_path, EngineConfig())
