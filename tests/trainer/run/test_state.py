from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from schemas.errors import ConfigError
from tests.support.training import bigram_model
from tests.support.training.training_dataset import VOCABULARY
from trainer.config import MeshConfig
from trainer.mesh import make_mesh
from trainer.model.registry import FAMILIES
from trainer.run.checkpoint import Checkpoints
from trainer.run.description import Description
from trainer.run.optimizer import OptimizerConfig, make_optimizer
from trainer.run.retention import Retention
from trainer.run.state import Plan, TrainState, load_model, load_params, new_state, resume

MODEL = bigram_model.BigramConfig()
OPTIMIZER = make_optimizer(OptimizerConfig(), steps=10)


@pytest.fixture(autouse=True)
def bigram(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "bigram", bigram_model.FAMILY)


def _plan(**sizes: int) -> Plan:
    return Plan.of(MODEL, VOCABULARY, optimizer=OPTIMIZER, mesh=make_mesh(MeshConfig(**sizes)))


def _state(plan: Plan, seed: int = 0) -> TrainState:
    return new_state(plan, MODEL, VOCABULARY, optimizer=OPTIMIZER, seed=seed)


def _assert_equal(a: Any, b: Any) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def _save(run: Path, plan: Plan, state: TrainState, *, step: int, ema: Any = None) -> None:
    description = Description(
        model=MODEL, vocabulary=VOCABULARY, context_length=8, dataset_fingerprint="x", batch_size=1, seed=0
    )
    with Checkpoints(run, keep=Retention(newest=1)) as checkpoints:
        checkpoints.save(
            step, params=state.params, optimizer=state.optimizer, ema=ema, position={}, description=description
        )


def test_a_plan_has_the_shapes_dtypes_and_shardings_of_the_state() -> None:
    plan = _plan(fsdp=4, sequence=2)
    for x, like in zip(jax.tree.leaves(_state(plan)), jax.tree.leaves(plan.like), strict=True):
        assert (x.shape, x.dtype) == (like.shape, like.dtype)
        assert x.sharding == like.sharding
        assert isinstance(like, jax.ShapeDtypeStruct)


@pytest.mark.slow
def test_a_new_state_starts_at_step_0_with_zero_moments_and_the_parameters_of_its_seed_on_any_mesh() -> None:
    ring, split = _state(_plan()), _state(_plan(fsdp=4, sequence=2))
    assert int(ring.step) == 0
    assert all(not np.any(x) for x in jax.tree.leaves(ring.optimizer))
    _assert_equal(ring.params, split.params)
    other = _state(_plan(), seed=1)
    assert not np.array_equal(jax.tree.leaves(ring.params)[0], jax.tree.leaves(other.params)[0])


def test_a_checkpoint_is_resumed_on_another_mesh_with_its_step_parameters_and_moments(tmp_path: Path) -> None:
    first, plan = _plan(), _plan(fsdp=4, sequence=2)
    state = _state(first)
    _save(tmp_path, first, state, step=3)
    with Checkpoints(tmp_path) as checkpoints:
        resumed = resume(plan, checkpoints, 3)
    assert int(resumed.step) == 3
    _assert_equal((resumed.params, resumed.optimizer), (state.params, state.optimizer))
    for x, like in zip(jax.tree.leaves(resumed), jax.tree.leaves(plan.like), strict=True):
        assert x.sharding == like.sharding


@pytest.mark.slow
def test_parameters_are_initialized_or_a_model_loaded_from_the_newest_checkpoint_of_another_run(tmp_path: Path) -> None:
    plan = _plan()
    state = _state(plan, seed=2)
    _save(tmp_path, plan, state, step=5)
    _assert_equal(load_params(plan, tmp_path), state.params)
    model, description = load_model(tmp_path, mesh=plan.mesh)
    assert description.vocabulary == VOCABULARY
    np.testing.assert_array_equal(model.heads()[0], state.params["text_head"].get_value())


@pytest.mark.slow
def test_a_model_is_loaded_with_the_moving_average_of_its_parameters_if_there_is_one(tmp_path: Path) -> None:
    plan = _plan()
    state, mean = _state(plan, seed=2), _state(plan, seed=3).params
    _save(tmp_path / "mean", plan, state, step=5, ema=mean)
    model, _ = load_model(tmp_path / "mean", mesh=plan.mesh, weights="ema")
    np.testing.assert_array_equal(model.heads()[0], mean["text_head"].get_value())
    _save(tmp_path / "plain", plan, state, step=5)
    with pytest.raises(ConfigError, match="has no moving average of the parameters: .* --weights params"):
        load_model(tmp_path / "plain", mesh=plan.mesh, weights="ema")


def test_a_folder_without_checkpoints_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not the output of `longreel train`"):
        load_model(tmp_path, mesh=make_mesh(MeshConfig()))
    with pytest.raises(ConfigError, match="not the output of `longreel train`"):
        load_params(_plan(), tmp_path)
