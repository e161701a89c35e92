from __future__ import annotations

import numpy as np
import pytest

from trainer.published.layout import Layout

SHAPES = {
    "query": Layout(shape=(6, 4, 8), transposed=True, interleaved=True),
    "query of LWM": Layout(shape=(6, 4, 8), interleaved=True),
    "output": Layout(shape=(4, 8, 6), inputs=2, transposed=True),
    "output of LWM": Layout(shape=(4, 8, 6), inputs=2),
    "bias": Layout(shape=(4, 8), is_vector=True, interleaved=True),
    "norm": Layout(shape=(6,), is_vector=True),
    "table": Layout(shape=(9, 6)),
    "head of LWM": Layout(shape=(9, 6), transposed=True),
}
PUBLISHED = {
    "query": (32, 6),
    "query of LWM": (6, 32),
    "output": (6, 32),
    "output of LWM": (32, 6),
    "bias": (32,),
    "norm": (6,),
    "table": (9, 6),
    "head of LWM": (6, 9),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("step", [1, 2, 100])
def test_blocks_of_any_size_fill_the_array_and_are_published_again(name: str, step: int) -> None:
    layout = SHAPES[name]
    assert layout.published == PUBLISHED[name]
    published = np.random.default_rng(0).random(layout.published, np.float32)
    ours = np.full(layout.shape, np.nan, np.float32)
    again = []
    for start, stop in layout.blocks(step):
        block = layout.from_rows(published[start * layout.unit : stop * layout.unit])
        ours[layout.region(start, stop)] = block
        again.append(layout.to_rows(block))
    np.testing.assert_array_equal(np.concatenate(again), published)
    np.testing.assert_array_equal(ours, layout.from_rows(published))


def test_pairs_move_half_a_head_apart() -> None:
    layout = SHAPES["bias"]
    heads = layout.from_rows(np.arange(32, dtype=np.float32))
    np.testing.assert_array_equal(heads[0], [0, 2, 4, 6, 1, 3, 5, 7])
    np.testing.assert_array_equal(heads[3], 24 + heads[0])


def test_a_block_has_a_bounded_size_and_at_least_one_index() -> None:
    assert Layout(shape=(1 << 17, 1 << 12)).step == 1024
    assert Layout(shape=(4096, 1, 1 << 20), transposed=True).step == 1
    assert Layout(shape=(6,), is_vector=True).step == 6
