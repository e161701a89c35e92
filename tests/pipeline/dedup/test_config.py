"""The options of the dedup job."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.dedup.config import DedupConfig, similarities
from schemas.errors import ConfigError


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kinds": ("film",)}, "kinds must be among video, image, book, got 'film'"),
        ({"max_bucket": 1}, "max_bucket must be at least 2, got 1"),
    ],
)
def test_options_out_of_range_raise(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DedupConfig(**wrong)


def test_every_search_needs_collisions_and_gets_no_easier_in_a_large_corpus() -> None:
    for similarity in similarities().values():
        assert 1 <= similarity.min_collisions <= similarity.sufficient_collisions
        assert similarity.scaled_to(1 << 24).min_collisions == similarity.min_collisions
