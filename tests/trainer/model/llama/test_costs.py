from __future__ import annotations

import dataclasses

import pytest

from trainer.model.llama.config import debug, lwm_7b, small
from trainer.model.llama.costs import flops_per_token, step_memory
from trainer.model.registry import parameter_count

ONE = {"data": 1, "fsdp": 1, "tensor": 1, "sequence": 1}


def test_flops_are_six_per_weight_plus_those_of_attention() -> None:
    config, span = small(), 500.5
    counted = flops_per_token(config, text_size=1000, vision_size=200, mean_span=span)
    products = parameter_count(config, text_size=1000, vision_size=200)
    products -= 128 * 1200 + 128 * (2 * config.layers + 1)  # a lookup and the norms multiply nothing
    assert counted == pytest.approx(6 * products + 12 * config.layers * 128 * span)


def test_every_layer_keeps_its_input_and_the_output_of_attention() -> None:
    config = lwm_7b()
    mesh = ONE | {"tensor": 4, "sequence": 8}
    made = step_memory(config, mesh, tokens=1000, ids=40_000)
    assert made.kept == 1000 * 32 * (4096 * 2 + 32 // 4 * 128 * 2 + 32 // 4 * 4)
    assert made.offloaded == 0


def test_rematerialization_keeps_less_or_more() -> None:
    c = small()
    full, layer, projections = (
        step_memory(dataclasses.replace(c, remat=remat), ONE, tokens=10, ids=50).kept
        for remat in ("full", "layer", "projections")
    )
    assert full == 10 * c.layers * c.dim * 4
    assert layer - full == 10 * c.layers * (c.heads * c.head_dim + c.heads) * 4
    assert projections - layer == 10 * c.layers * (c.heads + 2 * c.kv_heads) * c.head_dim * 4


def test_offloaded_activations_are_in_host_memory_except_for_one_layer() -> None:
    config = dataclasses.replace(debug(), offload=True)
    kept = step_memory(debug(), ONE, tokens=100, ids=50).kept
    made = step_memory(config, ONE, tokens=100, ids=50)
    assert (made.kept, made.offloaded) == (kept // 2, kept)


def test_a_gathering_device_needs_memory_for_the_whole_sequence() -> None:
    gather = dataclasses.replace(small(), attention="all_gather")
    ring, whole = (
        [step_memory(config, ONE | {"sequence": n}, tokens=4096, ids=100).working for n in (8, 16)]
        for config in (small(), gather)
    )
    assert ring[0] == ring[1]
    assert whole[1] - whole[0] == 4 * 8 * 4096 * small().kv_heads * small().head_dim * 4
