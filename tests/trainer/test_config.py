from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import ConfigError
from tests.support.training.bigram_model import BigramConfig
from trainer.config import MeshConfig


@pytest.mark.parametrize("sizes", [{"data": 0}, {"tensor": -2}])
def test_an_invalid_axis_size_is_rejected_with_the_name_of_the_axis(sizes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(sizes))):
        MeshConfig(**sizes)


def test_only_one_axis_may_take_the_remaining_devices() -> None:
    with pytest.raises(ConfigError, match="only one"):
        MeshConfig(data=-1, sequence=-1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tile": 0}, "tile must be at least 1, got 0"),
        ({"chunk": -1}, "chunk must be at least 1, got -1"),
        ({"max_positions": 0}, "max_positions must be at least 1, got 0"),
        ({"dtype": "float16"}, "dtype must be one of float32, bfloat16, got 'float16'"),
        ({"softmax": "hard"}, "softmax must be one of joint, by_modality, got 'hard'"),
        ({"attention": "flash"}, "attention must be one of ring, all_gather, ulysses, got 'flash'"),
    ],
)
def test_every_model_family_rejects_invalid_common_settings(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BigramConfig(**change)
