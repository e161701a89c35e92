from __future__ import annotations

from dataclasses import replace

from trainer.model.llama.config import lwm_7b
from trainer.planning.plan import TrainingPlan, Workload
from trainer.planning.report import lines_of
from trainer.run.speed import Speed

MESH = {"data": 1, "fsdp": 8, "tensor": 4, "sequence": 8}


def test_the_report_names_every_cost_with_its_unit() -> None:
    work = Workload(context=1 << 20, batch_size=8, text_size=32_000, vision_size=8_448, accumulate=1)
    plan = TrainingPlan.of(lwm_7b(), MESH, work)
    speed = Speed(flops_per_s=256 * 4e14, utilization=0.5, source="256 devices")
    text = "\n".join(lines_of(plan, lwm_7b(), MESH, work, steps=450, speed=speed))
    assert "parameters  6,807,621,632: 6,476,271,616 in layers, 331,350,016 in tables" in text
    assert "data 1, fsdp 8, tensor 4, sequence 8: 256 devices" in text
    assert "8 x 1,048,576 = 8,388,608 tokens; 131,072 a device" in text
    assert "activations in bfloat16" in text
    assert "step time   2.36 min at 50% of 1.02e+17 FLOP/s (256 devices)" in text
    assert "run         450 steps, 3.77e+09 tokens, 17.7 h" in text


def test_activations_in_host_memory_have_a_line_of_their_own() -> None:
    config = replace(lwm_7b(), offload=True)
    work = Workload(context=1 << 20, batch_size=8, text_size=32_000, vision_size=8_448)
    plan = TrainingPlan.of(config, MESH, work)
    speed = Speed(flops_per_s=1e18, utilization=0.5, source="given")
    assert "in host memory: activations or moments" in "\n".join(
        lines_of(plan, config, MESH, work, steps=1, speed=speed)
    )
