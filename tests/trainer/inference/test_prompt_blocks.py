from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.training.decoding import counting_decoder
from trainer.inference.cache import Cache
from trainer.inference.prompt_blocks import PromptBlocks, block_lengths
from trainer.inference.requests import Request
from trainer.inference.rows import Row
from trainer.inference.speed import Speed

DECODER = counting_decoder()
IDS = np.random.default_rng(0).integers(0, 50, 40).astype(np.int32)


@pytest.mark.parametrize(
    ("block", "devices", "lengths"),
    [
        (1, 1, [16]),
        (16, 1, [16]),
        (17, 1, [16, 32]),
        (512, 1, [16, 64, 256, 512]),
        (500, 8, [16, 64, 256, 512]),
        (100, 3, [18, 72, 108]),
        (16, 32, [32]),
    ],
)
def test_blocks_have_few_lengths_that_the_devices_can_split(block: int, devices: int, lengths: list[int]) -> None:
    assert block_lengths(block, devices) == lengths
    assert all(length % devices == 0 for length in lengths)
    assert lengths[-1] >= block


def test_a_prompt_is_run_and_scored_in_blocks_up_to_where_each_stops() -> None:
    cache, speed = Cache(DECODER, page=8, dtype=None, most_tokens=64, most_kept=0), Speed()
    blocks = PromptBlocks(DECODER, cache, block=16, speed=speed)
    pages, _ = cache.reserve(IDS[:0], tokens=len(IDS))
    row = Row(ticket=0, request=Request(prompt=IDS, max_tokens=1), slot=0, ids=IDS, pages=pages, run=0)
    ends = []
    while row.run < 20:
        blocks.run(row, stop=20)
        ends.append(row.run)
    found = [blocks.score(row) for _ in range(2)]
    assert (ends, row.run, speed.prompt_tokens) == ([16, 20], 39, 39)
    logits = np.asarray(DECODER.logits(jnp.asarray(_hidden(IDS[20:39]))))
    expected = np.asarray(jax.nn.log_softmax(logits, axis=-1))[np.arange(19), IDS[21:]]
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-5)


def _hidden(ids: np.ndarray) -> np.ndarray:
    """One-hot vectors, whose root mean square the norm makes 1."""
    one_hot = np.eye(50, dtype=np.float32)[ids]
    return one_hot / np.sqrt(1 / 50 + DECODER.config.norm_eps)
