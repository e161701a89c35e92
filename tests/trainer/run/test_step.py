from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.training.training_dataset import VOCABULARY, write_dataset
from trainer.config import MeshConfig
from trainer.data.layout import Layout
from trainer.data.loader import Batch, Placement
from trainer.data.shards import PackedSplit
from trainer.mesh import batch_sharding, make_mesh
from trainer.model.llama.config import debug
from trainer.model.loss import LossSums
from trainer.run.optimizer import OptimizerConfig, make_optimizer, schedule
from trainer.run.state import Plan, TrainState, new_state
from trainer.run.step import StepMetrics, compile_eval, compile_step, loss_gradient, micro_batches

pytestmark = pytest.mark.slow

S, B = 128, 4
# As in test_loop.py, so that a step compiled there serves here too.
OPTIMIZER = OptimizerConfig(learning_rate=3e-3, warmup_steps=4, decay_steps=40)
MODEL = debug()
MESHES = {
    "one device": MeshConfig(sequence=1),
    "ring of 8": MeshConfig(),
    "fsdp 2, tensor 2, sequence 2": MeshConfig(fsdp=2, tensor=2, sequence=2),
}


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> PackedSplit:
    directory = write_dataset(tmp_path_factory.mktemp("packed") / "set", context=S, train=8, val=0)
    return PackedSplit([directory], "train")


class _Trainer:
    """A step and an evaluation on a mesh, each compiled when it is first asked for."""

    def __init__(
        self, split: PackedSplit, mesh_config: MeshConfig, layout: Layout = "block_cyclic", accumulate: int = 1
    ) -> None:
        self._accumulate = accumulate
        devices = jax.devices()[:1] if mesh_config == MESHES["one device"] else jax.devices()
        mesh = make_mesh(mesh_config, devices=devices)
        self.optimizer = make_optimizer(OPTIMIZER, steps=20)
        self.plan = Plan.of(MODEL, VOCABULARY, optimizer=self.optimizer, mesh=mesh)
        self._placement = Placement.of(mesh, (B, S), layout=layout, tile=MODEL.tile)
        self._loader = self._placement.loader(split)

    def step(self, state: TrainState, batch: Batch, *, limit: float = math.inf) -> tuple[TrainState, StepMetrics]:
        return self._step(state, batch, jax.device_put(np.float32(limit), self.plan.replicated))

    @cached_property
    def _step(self) -> Callable[[TrainState, Batch, jax.Array], tuple[TrainState, StepMetrics]]:
        rate = schedule(OPTIMIZER, steps=20)
        return compile_step(self.plan, self.optimizer, rate, shape=(B, S), accumulate=self._accumulate)

    @cached_property
    def evaluate(self) -> Callable[[Any, Batch], LossSums]:
        return compile_eval(self.plan, shape=(B, S))

    def batch(self, *indices: int) -> dict[str, jax.Array]:
        return self._placement.place(self._loader(np.array(indices)))

    @cached_property
    def _first(self) -> Any:
        """The first state, on the host: the steps use up what is on the devices."""
        return jax.device_get(new_state(self.plan, MODEL, VOCABULARY, optimizer=self.optimizer, seed=0))

    def state(self) -> TrainState:
        return self.placed(self._first)

    def placed(self, state: Any) -> TrainState:
        return jax.tree.map(lambda x, like: jax.device_put(x, like.sharding), state, self.plan.like)


@pytest.fixture(scope="module")
def ring(split: PackedSplit) -> _Trainer:
    return _Trainer(split, MESHES["ring of 8"])


def _run(trainer: _Trainer, state: TrainState, steps: int = 3) -> tuple[list[StepMetrics], TrainState]:
    metrics = []
    for i in range(steps):
        state, m = trainer.step(state, trainer.batch(*((i + j) % 8 for j in range(B))))
        metrics.append(jax.device_get(m))
    return metrics, state


def _close(a: Any, b: Any, tolerance: float) -> None:
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=tolerance, atol=tolerance)


def test_tokens_and_the_keys_that_they_attend_to_are_counted_without_padding(ring: _Trainer) -> None:
    (metrics,), _ = _run(ring, ring.state(), steps=1)
    batch = jax.device_get(ring.batch(*range(B)))
    is_token = batch["segment_ids"] > 0
    assert metrics.tokens == is_token.sum() < B * S
    assert metrics.keys == pytest.approx((batch["positions"][is_token] + 1).sum())


@pytest.mark.parametrize("name", [name for name in MESHES if name != "ring of 8"])
def test_loss_and_update_do_not_depend_on_the_mesh(split: PackedSplit, ring: _Trainer, name: str) -> None:
    expected, expected_state = _run(ring, ring.state())
    other = _Trainer(split, MESHES[name])
    metrics, state = _run(other, other.placed(jax.device_get(ring.state())))
    _close([m.sums for m in metrics], [m.sums for m in expected], 2e-5)
    _close([m.gradient_norm for m in metrics], [m.gradient_norm for m in expected], 1e-4)
    _close(state.params, expected_state.params, 2e-3)


def test_loss_and_update_do_not_depend_on_the_layout(split: PackedSplit, ring: _Trainer) -> None:
    expected, expected_state = _run(ring, ring.state())
    metrics, state = _run(_Trainer(split, MESHES["ring of 8"], "contiguous"), ring.state())
    _close([m.sums for m in metrics], [m.sums for m in expected], 2e-5)
    _close(state.params, expected_state.params, 2e-3)


def test_micro_batches_give_the_update_and_metrics_of_the_whole_batch(split: PackedSplit, ring: _Trainer) -> None:
    expected, expected_state = _run(ring, ring.state())
    metrics, state = _run(_Trainer(split, MESHES["ring of 8"], accumulate=2), ring.state())
    _close([m.sums for m in metrics], [m.sums for m in expected], 2e-5)
    _close([m.gradient_norm for m in metrics], [m.gradient_norm for m in expected], 1e-4)
    assert [int(m.useful_tokens) for m in metrics] == [int(m.useful_tokens) for m in expected]
    _close(state.params, expected_state.params, 2e-3)


def test_micro_batches_of_unequal_weights_give_the_gradient_of_the_whole_batch(split: PackedSplit) -> None:
    trainer = _Trainer(split, MeshConfig(data=2, sequence=4))
    plan, params = trainer.plan, trainer.state().params
    batch = trainer.batch(0, 1, 2, 3)
    # Devices hold rows 0, 1 and 2, 3; micro-batches take rows 0, 2 and 1, 3.
    unequal = jnp.array([1e-3, 1e3, 1e-3, 30.0])[:, None]

    of_parts = {n: partial(loss_gradient, graph=plan.graph, mesh=plan.mesh, accumulate=n) for n in (1, 2)}
    compiled = {n: jax.jit(f) for n, f in of_parts.items()}

    def gradient(accumulate: int, factors: jax.Array) -> Any:
        return jax.device_get(compiled[accumulate](params, batch | {"weights": batch["weights"] * factors})[0])

    large, apart = gradient(1, unequal), gradient(2, unequal)
    light, heavy = (gradient(1, unequal * jnp.array(rows)[:, None]) for rows in ([1.0, 0, 1, 0], [0.0, 1, 0, 1]))
    means = jax.tree.map(lambda a, b: (a + b) / 2, light, heavy)
    for a, b, mean in zip(*map(jax.tree.leaves, (apart, large, means)), strict=True):
        size = np.abs(b).max()
        np.testing.assert_allclose(a, b, atol=2e-6 * size, rtol=2e-5)
        assert np.abs(mean - b).max() > 0.1 * size  # else the mean of the micro-batches' means would do, too


def test_rows_are_split_into_micro_batches_without_moving_between_devices() -> None:
    mesh = make_mesh(MeshConfig(data=2, sequence=4))
    rows = jax.device_put(np.arange(8 * 16).reshape(8, 16), batch_sharding(mesh))
    deal = jax.jit(partial(micro_batches, mesh=mesh, count=2)).lower(rows).compile()
    parts = deal(rows)
    assert parts[:, :, 0].tolist() == [[0, 16, 64, 80], [32, 48, 96, 112]]
    assert not any(word in deal.as_text() for word in ("all-gather", "all-to-all", "collective-permute"))


def test_the_loss_is_one_weighted_mean_over_the_batch_not_a_mean_of_rows(split: PackedSplit, ring: _Trainer) -> None:
    state = ring.state()
    whole = jax.device_get(ring.evaluate(state.params, ring.batch(0, 1, 2, 3)))
    rows = [jax.device_get(ring.evaluate(state.params, ring.batch(i, -1, -1, -1))) for i in range(4)]
    ce, weight = sum(r.ce for r in rows), sum(r.weight for r in rows)
    assert float(whole.mean) == pytest.approx(float(ce / weight), rel=1e-5)
    assert weight == pytest.approx(float(whole.weight))
    assert len({round(float(r.weight), 3) for r in rows}) > 1  # else a mean of rows would be the same


def test_rows_of_padding_do_not_change_the_result(ring: _Trainer) -> None:
    state = ring.state()
    alone = jax.device_get(ring.evaluate(state.params, ring.batch(5, -1, -1, -1)))
    elsewhere = jax.device_get(ring.evaluate(state.params, ring.batch(-1, -1, 5, -1)))
    assert float(alone.ce) == pytest.approx(float(elsewhere.ce), rel=1e-6)
    nothing = jax.device_get(ring.evaluate(state.params, ring.batch(-1, -1, -1, -1)))
    assert float(nothing.ce) == float(nothing.weight) == float(nothing.mean) == 0


def test_a_batch_of_only_padding_gives_no_nan(ring: _Trainer) -> None:
    state, metrics = ring.step(ring.state(), ring.batch(-1, -1, -1, -1))
    assert float(metrics.gradient_norm) == 0
    assert all(bool(np.isfinite(np.asarray(x)).all()) for x in jax.tree.leaves(state.params))


def test_the_step_increments_the_count_and_returns_metrics(split: PackedSplit, ring: _Trainer) -> None:
    batch = ring.batch(0, 1, 2, 3)
    useful = int(np.count_nonzero(np.asarray(batch["weights"])))
    state, metrics = ring.step(ring.state(), batch)
    assert int(state.step) == 1
    assert int(metrics.useful_tokens) == useful
    assert float(metrics.learning_rate) == pytest.approx(3e-3 / 4)  # the first of four warm-up steps
    # Logits begin with a variance of 1, whose cross-entropy is 1/2 above that of even odds.
    assert float(metrics.sums.mean) == pytest.approx(np.log(VOCABULARY.size) + 0.5, rel=0.05)
    by = metrics.sums
    assert float(by.ce_by_modality.sum()) == pytest.approx(float(by.ce), rel=1e-5)
    assert float(by.weight_by_modality.sum()) == pytest.approx(float(by.weight), rel=1e-6)


def test_the_step_is_pure(ring: _Trainer) -> None:
    batch = ring.batch(0, 1, 2, 3)
    first, again = (jax.device_get(ring.step(ring.state(), batch)) for _ in range(2))
    for x, y in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True):
        assert np.array_equal(x, y)


def test_the_loss_falls(ring: _Trainer) -> None:
    metrics, _ = _run(ring, ring.state(), steps=30)
    assert float(metrics[-1].sums.mean) < float(metrics[0].sums.mean) - 0.7


def test_evaluation_equals_the_loss_of_the_step(ring: _Trainer) -> None:
    batch = ring.batch(0, 1, 2, 3)
    state = ring.state()
    evaluated = ring.evaluate(state.params, batch)
    _, metrics = ring.step(state, batch)
    assert float(evaluated.mean) == pytest.approx(float(metrics.sums.mean), rel=1e-5)


def test_the_state_keeps_the_shardings_of_the_plan(ring: _Trainer) -> None:
    state, _ = ring.step(ring.state(), ring.batch(0, 1, 2, 3))
    for made, planned in zip(jax.tree.leaves(state), jax.tree.leaves(ring.plan.like), strict=True):
        assert (made.shape, made.dtype, made.sharding) == (planned.shape, planned.dtype, planned.sharding)


def test_a_step_above_the_limit_or_without_a_finite_loss_changes_only_the_counters(ring: _Trainer) -> None:
    batch = ring.batch(0, 1, 2, 3)
    before = jax.device_get(ring.state())
    state, metrics = ring.step(ring.state(), batch, limit=1e-6)
    assert not metrics.applied
    _assert_only_counted(before, state)
    broken = {**batch, "weights": batch["weights"] * np.inf}
    state, metrics = ring.step(ring.state(), broken)
    assert not metrics.applied
    _assert_only_counted(before, state)
    norm = float(metrics.parameter_norm)
    assert norm == pytest.approx(math.sqrt(sum(np.square(x).sum() for x in jax.tree.leaves(before.params))), rel=1e-5)
    assert bool(ring.step(ring.state(), batch)[1].applied)


def _assert_only_counted(before: TrainState, after: TrainState) -> None:
    assert int(after.step) == int(before.step) + 1
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(jax.device_get(after)), strict=True):
        if np.issubdtype(np.asarray(new).dtype, np.inexact):
            assert np.array_equal(old, new)
        else:
            assert new == old + 1
