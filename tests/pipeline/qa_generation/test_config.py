from __future__ import annotations

from typing import Any

import pytest

from pipeline.qa_generation.config import QaGeneration
from schemas.errors import ConfigError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tasks": ()}, "tasks must be some of fact, name, sentence, got none"),
        ({"tasks": ("facts",)}, "got facts"),
        ({"chunk_words": 0}, "chunk_words must be at least 1"),
        ({"document_words": 10}, "at most document_words, got 750 and 10"),
        ({"depths": ()}, "depths must ascend within 0..1, got none"),
        ({"depths": (0.0, 1.0)}, "depths must ascend"),
        ({"depths": (1.0, 0.5)}, "depths must ascend"),
        ({"depths": (0.5,)}, "the last of depths must be 1"),
        ({"temperature": -0.1}, "temperature must not be negative"),
        ({"max_requests": -1}, "max_requests must not be negative"),
    ],
)
def test_values_out_of_range_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        QaGeneration(**values)
