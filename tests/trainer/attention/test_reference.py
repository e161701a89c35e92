from __future__ import annotations

import jax
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.training.float64_attention import float64_attention
from tests.support.training.packed_sequences import Packed, packed, random_order
from trainer.attention.reference import dense_attention, visible


def _by_hand(q: NDArray, k: NDArray, v: NDArray, rows: Packed) -> NDArray[np.float64]:
    """Softmax over the keys that a query may see, one query head of one token at a time."""
    out = np.zeros(q.shape)
    for b, i, n in np.ndindex(q.shape[:3]):
        head = n * k.shape[2] // q.shape[2]
        mine, place = rows.segment_ids[b, i], rows.positions[b, i]
        seen = [
            j for j in range(q.shape[1]) if mine and rows.segment_ids[b, j] == mine and rows.positions[b, j] <= place
        ]
        if seen:
            scores = k[b, seen, head] @ q[b, i, n] / np.sqrt(q.shape[-1])
            weights = np.exp(scores - scores.max())
            out[b, i, n] = weights @ v[b, seen, head] / weights.sum()
    return out


@pytest.mark.slow
def test_both_references_equal_attention_computed_per_token() -> None:
    rng = np.random.default_rng(0)
    rows = packed(rng, rows=2, length=24, longest=12).permuted(random_order(rng, 24))
    assert np.any(rows.segment_ids == 0)
    q, k, v, d_out = (rng.normal(size=(2, 24, heads, 4)).astype(np.float32) for heads in (6, 2, 2, 6))
    made, pull = jax.vjp(lambda q, k, v: dense_attention(q, k, v, rows.segment_ids, rows.positions), q, k, v)
    exact = float64_attention(q, k, v, d_out, rows)
    doubles = (x.astype(np.float64) for x in (q, k, v))
    np.testing.assert_allclose(exact[0], _by_hand(*doubles, rows), atol=1e-12)
    for a, b in zip((made, *pull(d_out)), exact, strict=True):
        np.testing.assert_allclose(a, b, atol=3e-6)
        assert np.all(np.asarray(a)[rows.segment_ids == 0] == 0)


def test_a_token_attends_to_itself_and_earlier_tokens_of_its_document() -> None:
    segments, positions = np.array([2, 1, 1, 0, 0]), np.array([0, 1, 0, 0, 0])
    seen = np.asarray(visible(segments, positions, segments, positions)).astype(int)
    assert seen.tolist() == [[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
