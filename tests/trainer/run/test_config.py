from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tyro

from schemas.errors import ConfigError
from schemas.storage.location import Location, located
from trainer.model.llama.config import LlamaConfig
from trainer.run.config import Memory, TrainConfig
from trainer.run.optimizer import OptimizerConfig


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("dtype", "float16", "dtype must be one of float32, bfloat16, got 'float16'"),
        ("layout", "striped", "layout must be one of block_cyclic, zigzag, contiguous, got 'striped'"),
        ("attention", "flash", "attention must be one of ring, all_gather, ulysses, got 'flash'"),
        ("softmax", "hard", "softmax must be one of joint, by_modality, got 'hard'"),
        ("steps", -1, "steps must not be negative, got -1; 0 means as many as fit the data"),
        ("batch_size", -1, "batch_size must be at least 1, got -1"),
        ("seed", 1 << 32, "seed must lie in"),
        (
            "out",
            Path("s3://bucket/run"),
            "out must be a folder of the file system.*s3://; --copy-to copies",
        ),
    ],
)
def test_an_invalid_option_is_rejected_with_its_name(tmp_path: Path, field: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**{"dataset": (located(tmp_path),), "out": tmp_path, field: value})


def test_the_command_line_is_generated_from_the_configuration() -> None:
    line = "--dataset a b --out run --steps 7 --eval-every 0 --mesh.data 2 --optimizer.learning-rate 0.5 --devices 8"
    line += " --accumulate 2 --offload --softmax by_modality --dtype bfloat16"
    line += " --model.recipe 10m --model.layers 3 --model.tied-heads True --model.rope-theta 5e5 --model.tile 64"
    config = tyro.cli(TrainConfig, args=line.split())
    assert config.dataset == (Location.parse("a"), Location.parse("b"))
    assert (config.steps, config.cadence.eval_every, config.mesh.data) == (7, 0, 2)
    assert config.optimizer.learning_rate == 0.5
    assert config.devices == 8
    assert config.memory == Memory(accumulate=2, offload=True)
    model = config.model_config()
    assert isinstance(model, LlamaConfig)
    assert (model.softmax, model.dtype, model.offload) == ("by_modality", "bfloat16", True)
    assert (model.dim, model.layers, model.tied_heads, model.rope_theta, model.tile) == (384, 3, True, 5e5, 64)


def test_a_warm_up_longer_than_the_run_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="warmup_steps = 20 is more than steps = 12"):
        TrainConfig(dataset=(located(tmp_path),), out=tmp_path, steps=12, optimizer=OptimizerConfig(warmup_steps=20))


def test_micro_batches_are_at_least_one() -> None:
    with pytest.raises(ConfigError, match="accumulate must be at least 1, got 0"):
        Memory(accumulate=0)
