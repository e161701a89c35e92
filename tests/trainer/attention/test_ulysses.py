"""The structure of Ulysses' program, read from its jaxpr, and its limit on devices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from schemas.errors import ConfigError
from tests.support.training.attention_programs import DEVICES, HEAD_DIM, IDS, LENGTH, SHARE, key_shape, program, sent
from trainer.attention.context_parallel import attention
from trainer.config import MeshConfig
from trainer.mesh import make_mesh


def test_all_to_all_exchanges_tokens_for_heads_and_back() -> None:
    made = sent(program("ulysses", kv_heads=DEVICES, gradients=False), "all_to_all")
    shares = key_shape(DEVICES)
    assert made[shares] == 2  # K and V, all heads of some tokens
    assert made[(1, DEVICES, 1, SHARE, HEAD_DIM)] == 1  # Q
    assert made[(1, 1, 1, LENGTH, HEAD_DIM)] == 1  # the output, all tokens of one head


def test_segment_ids_and_positions_are_gathered_and_nothing_takes_hops() -> None:
    made = program("ulysses", kv_heads=DEVICES, gradients=True)
    assert sent(made, "all_gather") == {IDS: 2 * 2}
    assert not sent(made, "ppermute")
    assert not sent(made, "reduce_scatter")


def test_more_devices_than_key_value_heads_are_rejected() -> None:
    message = r"sequence = 4 devices some of the 2 key/value heads that tensor = 1 leaves.*nearest sequence axis is 2"
    mesh = make_mesh(MeshConfig(sequence=4), devices=jax.devices()[:4])
    q, k = (jnp.ones((1, 64, n, 8)) for n in (4, 2))
    ids = jnp.ones((1, 64), jnp.int32)
    with pytest.raises(ConfigError, match=message):
        attention(q, k, k, ids, ids, mesh=mesh, tile=8, method="ulysses")
