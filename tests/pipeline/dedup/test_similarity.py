"""What two items share, seen from either side."""

from __future__ import annotations

from pipeline.dedup.similarity import Shared


def test_swapping_exchanges_the_items() -> None:
    shared = Shared(0.5, 0.75, 0.9, ((0.0, 2.0),), ((1.0, 4.0),))
    assert shared.swapped() == Shared(0.75, 0.5, 0.9, ((1.0, 4.0),), ((0.0, 2.0),))
    assert shared.swapped().swapped() == shared
