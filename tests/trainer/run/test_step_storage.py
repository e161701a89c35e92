"""How the training state is stored: bfloat16, a moving average, host memory. With a model that compiles in a second."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from schemas.errors import ConfigError
from schemas.runs.metrics import read_metrics
from schemas.storage.location import located
from tests.support.training import bigram_model
from tests.support.training.runs import MEASURED
from tests.support.training.training_dataset import write_dataset
from trainer.config import MeshConfig
from trainer.evaluation.loss import LossConfig, measure_loss
from trainer.mesh import HOST_MEMORY
from trainer.model.registry import FAMILIES
from trainer.run.checkpoint import open_run
from trainer.run.config import Cadence, TrainConfig
from trainer.run.loop import train
from trainer.run.model_options import ModelOptions
from trainer.run.optimizer import OptimizerConfig, schedule
from trainer.run.setup import Setup
from trainer.run.state import TrainState
from trainer.run.step import loss_gradient

pytestmark = pytest.mark.slow

S, STEPS = 64, 6
PLAIN = OptimizerConfig(learning_rate=0.03, warmup_steps=2, decay_steps=STEPS)


@pytest.fixture(autouse=True)
def bigram(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "bigram", bigram_model.FAMILY)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("packed") / "set", context=S, train=12, val=2)


def _config(dataset: Path, out: Path, **optimizer: Any) -> TrainConfig:
    return TrainConfig(
        dataset=(located(dataset),),
        out=out,
        model=ModelOptions(recipe="bigram"),
        steps=STEPS,
        batch_size=4,
        mesh=MeshConfig(data=2, fsdp=2, sequence=2),
        cadence=Cadence(eval_every=3),
        optimizer=dataclasses.replace(PLAIN, **optimizer),
    )


def _states(config: TrainConfig, *, steps: int = STEPS) -> list[TrainState]:
    """The states of a run, on the host, by step."""
    setup = Setup.of(config)
    step, state = setup.compile_step(4), setup.initial_state()
    states = [jax.device_get(state)]
    loader = setup.placement.loader(setup.split)
    for n in range(steps):
        batch = setup.placement.place(loader(setup.sequences(n)))
        state, _ = step(state, batch, jax.device_put(np.float32(np.inf), setup.plan.replicated))
        states.append(jax.device_get(state))
    return states


def _leaves(tree: Any) -> list[np.ndarray]:
    return [np.asarray(x, np.float64) for x in jax.tree.leaves(tree)]


def test_the_moving_average_is_its_closed_form(dataset: Path, tmp_path: Path) -> None:
    states = _states(_config(dataset, tmp_path, ema_decay=0.8))
    history = [_leaves(state.params) for state in states]
    for n, state in enumerate(states):
        for i, mean in enumerate(_leaves(state.ema)):
            expected = 0.8**n * history[0][i] + sum(0.2 * 0.8 ** (n - k) * history[k][i] for k in range(1, n + 1))
            np.testing.assert_allclose(mean, expected, rtol=1e-5, atol=1e-6)


def test_a_state_in_bfloat16_is_the_float32_update_rounded_to_a_neighbor(dataset: Path, tmp_path: Path) -> None:
    config = _config(dataset, tmp_path, state_dtype="bfloat16", param_dtype="bfloat16")
    before, after = _states(config, steps=1)
    assert {x.dtype.name for x in jax.tree.leaves((after.params, after.optimizer))} == {"bfloat16", "int32"}
    setup = Setup.of(config)
    batch = setup.placement.place(setup.placement.loader(setup.split)(setup.sequences(0)))
    placed = jax.tree.map(lambda x, like: jax.device_put(x, like.sharding), before.params, setup.plan.like.params)
    derive = jax.jit(partial(loss_gradient, graph=setup.plan.graph, mesh=setup.plan.mesh, accumulate=1))
    gradient, _ = derive(placed, batch)
    wide = [jnp.asarray(x, jnp.float32) for x in jax.tree.leaves(before.params)]
    by_hand = optax.chain(
        optax.clip_by_global_norm(PLAIN.clip_norm),
        optax.adamw(schedule(PLAIN, steps=STEPS), b1=0.9, b2=0.95, weight_decay=0.1),
    )
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = by_hand.update(
            [jnp.asarray(x, jnp.float32) for x in jax.tree.leaves(gradient)], by_hand.init(wide), wide
        )
    for x, update, stored in zip(wide, updates, jax.tree.leaves(after.params), strict=True):
        exact = np.asarray(x + update, np.float64)
        spacing = np.maximum(2.0 ** (np.floor(np.log2(np.abs(exact) + 1e-30)) - 7), 2.0**-133)
        assert (np.abs(np.asarray(stored, np.float64) - exact) <= 1.01 * spacing).all()


def test_a_state_in_host_memory_gives_the_same_updates(dataset: Path, tmp_path: Path) -> None:
    config = _config(dataset, tmp_path, offload=True)
    moments = jax.tree.leaves(Setup.of(config).initial_state().optimizer)
    assert {x.sharding.memory_kind for x in moments if x.ndim} == {HOST_MEMORY}
    for ours, theirs in zip(_states(config), _states(_config(dataset, tmp_path)), strict=True):
        for a, b in zip(_leaves(ours), _leaves(theirs), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "options",
    [
        {"name": "lion", "ema_decay": 0.9, "learning_rate": 0.01},
        {"state_dtype": "bfloat16", "param_dtype": "bfloat16", "ema_decay": 0.9, "offload": True},
    ],
)
def test_a_run_resumes_exactly_whatever_its_state_is_stored_in(
    dataset: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    whole, parts = (_config(dataset, tmp_path / name, **options) for name in ("whole", "parts"))
    train(whole)
    train(dataclasses.replace(parts, steps=3))
    train(parts)
    ours, theirs = (
        [{k: v for k, v in row.items() if k not in MEASURED} for row in read_metrics(config.out / "metrics.jsonl")]
        for config in (parts, whole)
    )
    assert ours == theirs
    plan = Setup.of(whole).plan
    for weights in ("params", "ema"):
        like = plan.like.params if weights == "params" else plan.like.ema
        with open_run(whole.out) as one, open_run(parts.out) as other:
            a, b = (run.restore_params(STEPS, like, weights=weights) for run in (one, other))
        for x, y in zip(_leaves(a), _leaves(b), strict=True):
            np.testing.assert_array_equal(x, y)


def test_evaluation_uses_the_moving_average_and_a_checkpoint_without_one_says_so(dataset: Path, tmp_path: Path) -> None:
    train(_config(dataset, tmp_path / "mean", ema_decay=0.99))
    measure = LossConfig(model=located(tmp_path / "mean"), dataset=(located(dataset),), weights="ema")
    row = read_metrics(tmp_path / "mean" / "metrics.jsonl")[-1]
    assert row["kind"] == "eval"
    assert measure_loss(measure, MeshConfig(data=1, sequence=8))["loss"] == pytest.approx(row["loss"], rel=1e-5)
    trained = dataclasses.replace(measure, weights="params")
    assert measure_loss(trained, MeshConfig())["loss"] < row["loss"] - 0.01
    train(_config(dataset, tmp_path / "plain"))
    with pytest.raises(ConfigError, match=r"has no moving average .*--optimizer.ema-decay"):
        measure_loss(dataclasses.replace(measure, model=located(tmp_path / "plain")), MeshConfig())


def test_another_optimizer_cannot_resume_a_run(dataset: Path, tmp_path: Path) -> None:
    train(_config(dataset, tmp_path))
    with pytest.raises(ConfigError, match="state of the optimizer adamw, which lion cannot use"):
        train(_config(dataset, tmp_path, name="lion"))
