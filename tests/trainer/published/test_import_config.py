from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigError
from trainer.published.import_config import ImportConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": Path("d"), "vision_size": 3}, "give either --dataset or --vision-size"),
        ({"vision_size": -1}, "vision_size must not be negative"),
        ({"heads": 0}, "heads must be at least 1"),
        ({"rope_theta": 1.0}, "rope_theta must be greater than 1"),
        ({"seed": -1}, "seed must lie in"),
    ],
)
def test_invalid_options_are_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ImportConfig(out=Path("out"), **options)
