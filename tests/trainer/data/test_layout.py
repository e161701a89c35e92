from __future__ import annotations

import jax
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import ConfigError
from tests.support.training.packed_sequences import VOCABULARY, packed
from trainer.config import MeshConfig
from trainer.data.layout import LAYOUTS, Layout, inverse, lay_out, permutation, stripe_width
from trainer.mesh import make_mesh
from trainer.model.llama.config import debug
from trainer.model.loss import batch_sums
from trainer.model.registry import create

pytestmark = pytest.mark.slow

shapes = st.tuples(st.sampled_from(LAYOUTS), st.integers(1, 9), st.integers(1, 7), st.integers(1, 5))


def _order(shape: tuple[Layout, int, int, int]) -> tuple[np.ndarray, int, int]:
    layout, devices, stripe, turns = shape
    length = devices * stripe * turns * 2  # zigzag needs two runs a device
    return permutation(layout, length=length, devices=devices, stripe=stripe), devices, stripe


@given(shapes)
@settings(deadline=None, max_examples=80)
def test_a_layout_is_a_permutation(shape: tuple[Layout, int, int, int]) -> None:
    order, _, _ = _order(shape)
    assert np.array_equal(np.sort(order), np.arange(len(order)))


@given(shapes)
@settings(deadline=None, max_examples=80)
def test_the_inverse_restores_the_original_order(shape: tuple[Layout, int, int, int]) -> None:
    order, _, _ = _order(shape)
    original = np.arange(len(order)) * 7
    assert np.array_equal(original[order][inverse(order)], original)


@given(shapes)
@settings(deadline=None, max_examples=80)
def test_a_device_holds_every_nth_stripe_in_reading_order(shape: tuple[Layout, int, int, int]) -> None:
    order, devices, stripe = _order(("block_cyclic", *shape[1:]))
    for device, held in enumerate(order.reshape(devices, -1)):
        assert np.all(np.diff(held) > 0)
        assert set((held // stripe) % devices) == {device}


@given(shapes)
@settings(deadline=None, max_examples=80)
def test_contiguous_keeps_the_order(shape: tuple[Layout, int, int, int]) -> None:
    order, _, _ = _order(("contiguous", *shape[1:]))
    assert np.array_equal(order, np.arange(len(order)))


@given(shapes)
@settings(deadline=None, max_examples=80)
def test_a_device_of_a_zigzag_holds_a_run_from_each_end(shape: tuple[Layout, int, int, int]) -> None:
    order, devices, _ = _order(("zigzag", *shape[1:]))
    runs = order.reshape(2 * devices, -1)
    assert np.all(np.diff(runs, axis=1) == 1)
    places = (runs[:, 0] // runs.shape[1]).reshape(devices, 2)
    assert np.array_equal(places, [[d, 2 * devices - 1 - d] for d in range(devices)])


@given(shapes)
@settings(deadline=None, max_examples=80)
def test_in_every_layout_a_device_holds_its_part_in_reading_order(shape: tuple[Layout, int, int, int]) -> None:
    order, devices, _ = _order(shape)
    assert np.all(np.diff(order.reshape(devices, -1), axis=1) > 0)


@pytest.mark.parametrize(("layout", "most"), [("block_cyclic", 1.3), ("zigzag", 1.0), ("contiguous", 15.0)])
def test_the_causal_work_of_one_document_is_balanced_within_a_limit(layout: Layout, most: float) -> None:
    work = np.arange(1, 4097)  # a token's attention costs as much as it has tokens before it, and itself
    shares = work[permutation(layout, length=4096, devices=8, stripe=64)].reshape(8, -1).sum(1)
    assert most - 0.3 < shares.max() / shares.min() <= most


def test_all_arrays_of_a_batch_are_permuted_together() -> None:
    rng = np.random.default_rng(0)
    batch = {name: rng.integers(0, 99, (2, 64)) for name in ("tokens", "targets", "segment_ids", "positions")}
    batch["weights"] = rng.normal(size=(2, 64)).astype(np.float32)
    order = permutation("block_cyclic", length=64, devices=4, stripe=4)
    laid_out = lay_out(batch, order)
    assert laid_out.keys() == batch.keys()
    for name, array in laid_out.items():
        assert array.dtype == batch[name].dtype
        assert np.array_equal(array, batch[name][:, order])
        assert np.array_equal(lay_out({name: array}, inverse(order))[name], batch[name])
    assert np.array_equal(lay_out(batch, order[16:32])["tokens"], laid_out["tokens"][:, 16:32])  # one device's part


def test_the_loss_does_not_depend_on_the_layout() -> None:
    rng = np.random.default_rng(1)
    rows = packed(rng, rows=2, length=96, longest=40)
    weights = np.where(rows.segment_ids != 0, rng.uniform(0.5, 2, rows.tokens.shape), 0).astype(np.float32)
    batch = {**rows._asdict(), "targets": np.roll(rows.tokens, -1, 1), "weights": weights}
    text, vision = VOCABULARY.text_size, VOCABULARY.size - VOCABULARY.text_size
    mesh = make_mesh(MeshConfig(sequence=4), devices=jax.devices()[:4])
    model = create(debug(), text_size=text, vision_size=vision, mesh=mesh, seed=0)
    graph, state = nnx.split(model)
    loss = jax.jit(lambda batch: batch_sums(nnx.merge(graph, state), batch).mean)
    expected = float(loss(batch))
    assert expected > 1
    for layout in LAYOUTS:
        order = permutation(layout, length=96, devices=4, stripe=12)
        assert float(loss(lay_out(batch, order))) == pytest.approx(expected, rel=1e-6)
    # The loss does see what is permuted apart: it is no accident that the above agree.
    order = permutation("block_cyclic", length=96, devices=4, stripe=12)
    apart = {**lay_out(batch, order), "positions": batch["positions"]}
    assert float(loss(apart)) != pytest.approx(expected, rel=1e-4)


def test_an_indivisible_context_is_rejected_with_valid_values() -> None:
    with pytest.raises(ConfigError, match="multiple of 512"):
        permutation("block_cyclic", length=1000, devices=8, stripe=64)
    nearest = "1001 tokens .* 8 devices .*: the nearest context has 1000 tokens, the nearest sequence axis is 7"
    with pytest.raises(ConfigError, match=nearest):
        permutation("contiguous", length=1001, devices=8, stripe=64)
    with pytest.raises(ConfigError, match="1000 tokens .* zigzag.* 8 devices: the nearest context has 992 tokens"):
        permutation("zigzag", length=1000, devices=8, stripe=64)


def test_a_share_that_no_tile_divides_is_rejected_with_the_nearest_valid_context() -> None:
    with pytest.raises(ConfigError, match="leaves 127 tokens to each, .* 32 to 64 .* nearest .* has 1024 tokens"):
        stripe_width(length=8 * 127, devices=8, tile=64)


def test_an_unknown_layout_is_rejected() -> None:
    with pytest.raises(ConfigError, match="'striped'"):
        permutation("striped", length=8, devices=2, stripe=2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("length", "tile", "width"), [(4096, 256, 256), (128, 256, 16), (8 * 48, 32, 24), (8 * 6, 4, 3)]
)
def test_a_stripe_fits_the_tile_and_divides_the_share(length: int, tile: int, width: int) -> None:
    assert stripe_width(length=length, devices=8, tile=tile) == width
    permutation("block_cyclic", length=length, devices=8, stripe=width)
