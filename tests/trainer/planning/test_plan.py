from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from schemas.errors import ConfigError
from tests.support.training import bigram_model
from tests.support.training.packed_sequences import VOCABULARY
from trainer.config import MeshConfig
from trainer.mesh import HOST_MEMORY, make_mesh
from trainer.model.llama.config import LlamaConfig, debug, lwm_7b
from trainer.model.registry import FAMILIES, parameter_count
from trainer.planning.plan import TrainingPlan, Workload
from trainer.run.optimizer import OptimizerConfig, make_optimizer, schedule
from trainer.run.state import Plan
from trainer.run.step import compile_step

SIZES = {"text_size": VOCABULARY.text_size, "vision_size": VOCABULARY.vision_size}
ONE = {"data": 1, "fsdp": 1, "tensor": 1, "sequence": 1}
MODEL = LlamaConfig(dim=128, layers=3, heads=4, kv_heads=2, head_dim=32, ff_dim=352, tile=64, chunk=128)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "sizes", "work"),
    [
        pytest.param(
            MODEL,
            {"sequence": 2},
            Workload(context=8_192, batch_size=1, **SIZES),
            marks=pytest.mark.campaign,
            id="long",
        ),
        pytest.param(
            dataclasses.replace(MODEL, dim=512, ff_dim=1024),
            {"fsdp": 2, "tensor": 2, "sequence": 2},
            Workload(context=512, batch_size=4, accumulate=2, **SIZES),
            id="wide",
        ),
    ],
)
def test_the_memory_of_a_step_is_what_xla_allocates(config: LlamaConfig, sizes: dict[str, int], work: Workload) -> None:
    mesh = ONE | sizes
    devices = jax.devices()[: int(np.prod(list(mesh.values())))]
    settings = OptimizerConfig()
    optimizer = make_optimizer(settings, steps=10)
    plan = Plan.of(config, VOCABULARY, optimizer=optimizer, mesh=make_mesh(MeshConfig(**mesh), devices=devices))
    shape = (work.batch_size, work.context)
    step = compile_step(plan, optimizer, schedule(settings, steps=10), shape=shape, accumulate=work.accumulate)
    real = step.memory_analysis()
    planned = TrainingPlan.of(config, mesh, work).memory
    assert planned.state == pytest.approx(real.argument_size_in_bytes, rel=0.001)
    assert planned.temporary == pytest.approx(real.temp_size_in_bytes, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "bytes_per_parameter"),
    [
        (OptimizerConfig(), 12),
        (OptimizerConfig(name="lion", ema_decay=0.99), 4 + 4 + 4),
        (OptimizerConfig(state_dtype="bfloat16", param_dtype="bfloat16"), 6),
        (OptimizerConfig(offload=True), 4),
    ],
)
def test_the_state_has_the_bytes_of_its_options(settings: OptimizerConfig, bytes_per_parameter: int) -> None:
    work = Workload(context=64, batch_size=1, **SIZES)
    memory = TrainingPlan.of(MODEL, ONE, work, settings).memory
    count = TrainingPlan.of(MODEL, ONE, work).parameters
    assert memory.state - memory.batch == bytes_per_parameter * count
    assert memory.offloaded == (8 * count if settings.offload else 0)
    state = Plan.of(
        MODEL,
        VOCABULARY,
        optimizer=make_optimizer(settings, steps=1),
        mesh=make_mesh(MeshConfig(sequence=1), devices=jax.devices()[:1]),
        storage=settings,
    ).like
    stored = [x for x in jax.tree.leaves(state) if x.ndim and x.sharding.memory_kind != HOST_MEMORY]
    assert sum(x.size * x.dtype.itemsize for x in stored) == bytes_per_parameter * count


def test_muon_has_one_moment_for_the_matrices_of_layers() -> None:
    work = Workload(context=64, batch_size=1, **SIZES)
    plan = TrainingPlan.of(MODEL, ONE, work, OptimizerConfig(name="muon"))
    matrices = MODEL.layers * MODEL.matmul_weights
    assert plan.memory.optimizer == 4 * (2 * plan.parameters - matrices)


def test_parameters_and_operations_are_those_of_the_model() -> None:
    work = Workload(context=1024, batch_size=8, text_size=32_000, vision_size=8_448)
    plan = TrainingPlan.of(lwm_7b(), ONE | {"fsdp": 8}, work)
    assert plan.parameters == parameter_count(lwm_7b(), text_size=32_000, vision_size=8_448)
    assert plan.table_parameters == 2 * (32_000 + 8_448) * 4096
    products = plan.parameters - (32_000 + 8_448) * 4096 - 65 * 4096  # a lookup and the norms multiply nothing
    assert plan.flops - plan.attention_flops == pytest.approx(6 * 8 * 1024 * products)
    assert plan.memory.parameters == pytest.approx(4 * plan.parameters / 8, rel=1e-3)


def test_shorter_documents_need_less_attention() -> None:
    work = Workload(context=1024, batch_size=8, document_length=127, **SIZES)
    short, whole = (
        TrainingPlan.of(debug(), ONE, dataclasses.replace(work, document_length=n)).attention_flops for n in (127, None)
    )
    assert short / whole == pytest.approx(64 / 512.5)


@pytest.mark.parametrize(
    ("mesh", "change", "message"),
    [
        ({"tensor": 4}, {}, "tensor = 4 does not divide the model's kv_heads = 2"),
        ({"data": 3}, {}, "batch_size = 4 cannot be split evenly over data x fsdp = 3"),
        ({"sequence": 7}, {}, "a context of 64 tokens cannot be split over 7 devices"),
        ({}, {"context": 1 << 21}, "longer than the model's max_positions 1048576: set --model.max-positions"),
    ],
)
def test_what_a_run_would_refuse_is_refused(mesh: dict[str, int], change: dict[str, int], message: str) -> None:
    work = dataclasses.replace(Workload(context=64, batch_size=4, **SIZES), **change)
    with pytest.raises(ConfigError, match=message):
        TrainingPlan.of(debug(), ONE | mesh, work)


def test_a_family_without_costs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "bigram", bigram_model.FAMILY)
    with pytest.raises(ConfigError, match="bigram does not declare its costs"):
        TrainingPlan.of(bigram_model.BigramConfig(), ONE, Workload(context=64, batch_size=4, **SIZES))
