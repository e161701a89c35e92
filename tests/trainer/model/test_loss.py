from __future__ import annotations

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import Mesh

from schemas.errors import ConfigError
from schemas.packed import SPAN_DTYPE, expand
from schemas.vocab import TEXT, VISION
from tests.support.training.packed_sequences import VOCABULARY
from trainer.config import MeshConfig, Softmax
from trainer.mesh import make_mesh
from trainer.model.llama.config import debug
from trainer.model.loss import LossSums, batch_sums, loss_sums, position_ranges
from trainer.model.protocol import Model
from trainer.model.registry import create

pytestmark = pytest.mark.slow

V, T, D = VOCABULARY.size, VOCABULARY.text_size, 16
Arrays = tuple[jax.Array, ...]


def _mesh(**sizes: int) -> Mesh:
    return make_mesh(MeshConfig(**sizes), devices=jax.devices()[: int(np.prod(list(sizes.values())))])


def _inputs(rng: np.random.Generator, *, rows: int, length: int) -> Arrays:
    """Return hidden, heads as one matrix, targets, weights."""
    hidden, head = rng.normal(size=(rows, length, D)), rng.normal(size=(V, D))
    weights = rng.random((rows, length)) * (rng.random((rows, length)) < 0.8)
    floats = (jnp.asarray(x, jnp.float32) for x in (hidden, head))
    return *floats, jnp.asarray(rng.integers(0, V, (rows, length)), jnp.int32), jnp.asarray(weights, jnp.float32)


def _plain(softmax: Softmax, hidden: jax.Array, head: jax.Array, targets: jax.Array, weights: jax.Array) -> jax.Array:
    """Return w·ce of every token from the whole matrix of logits."""
    logits = jnp.einsum("bsd,vd->bsv", hidden, head, precision="highest")
    if softmax == "by_modality":
        of_text = (jnp.arange(V) < T)[None, None]
        logits = jnp.where(of_text == (targets < T)[..., None], logits, -jnp.inf)
    log_softmax = jax.nn.log_softmax(logits, axis=-1)
    return -weights * jnp.take_along_axis(log_softmax, targets[..., None], axis=-1)[..., 0]


def _sums(softmax: Softmax, *arrays: jax.Array, chunk: int = 4, mesh: Mesh | None = None) -> LossSums:
    hidden, head, targets, weights = arrays
    return loss_sums(hidden, (head[:T], head[T:]), targets, weights, softmax=softmax, chunk=chunk, mesh=mesh)


@pytest.mark.parametrize("softmax", ["joint", "by_modality"])
@pytest.mark.parametrize(
    ("sizes", "chunk"),
    [(None, 1000), (None, 7), ({"data": 2, "sequence": 4}, 5), ({"fsdp": 2, "tensor": 2, "sequence": 2}, 8)],
)
def test_sums_and_gradients_equal_those_of_the_full_logits(
    softmax: Softmax, sizes: dict[str, int] | None, chunk: int
) -> None:
    mesh = None if sizes is None else _mesh(**sizes)
    hidden, head, targets, weights = _inputs(np.random.default_rng(0), rows=2, length=24)
    sums_of = partial(_sums, softmax, chunk=chunk, mesh=mesh)

    def mean(hidden: jax.Array, head: jax.Array) -> tuple[jax.Array, LossSums]:
        sums = sums_of(hidden, head, targets, weights)
        return 3 * sums.mean, sums

    def plain(hidden: jax.Array, head: jax.Array) -> jax.Array:
        return 3 * _plain(softmax, hidden, head, targets, weights).sum() / weights.sum()

    (loss, sums), made = jax.jit(jax.value_and_grad(mean, argnums=(0, 1), has_aux=True))(hidden, head)
    expected, gradients = jax.value_and_grad(plain, argnums=(0, 1))(hidden, head)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    for a, b in zip(made, gradients, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    ce = np.asarray(_plain(softmax, hidden, head, targets, weights))
    for modality, chosen in ((TEXT, np.asarray(targets) < T), (VISION, np.asarray(targets) >= T)):
        np.testing.assert_allclose(sums.ce_by_modality[modality], ce[chosen].sum(), rtol=1e-5)
        np.testing.assert_allclose(sums.weight_by_modality[modality], np.asarray(weights)[chosen].sum(), rtol=1e-5)
    # Without a gradient the sums come from other code.
    alone = jax.jit(sums_of)(hidden, head, targets, weights)
    np.testing.assert_allclose(alone.ce, sums.ce, rtol=1e-6)
    np.testing.assert_allclose(alone.ce_by_modality, sums.ce_by_modality, rtol=1e-6)


@pytest.mark.parametrize("softmax", ["joint", "by_modality"])
@pytest.mark.parametrize("sizes", [None, {"data": 2, "sequence": 4}])
def test_sums_by_modality_are_divided_further_by_parts_of_the_targets(
    softmax: Softmax, sizes: dict[str, int] | None
) -> None:
    hidden, head, targets, weights = _inputs(np.random.default_rng(1), rows=2, length=24)
    part = jnp.arange(48, dtype=jnp.int32).reshape(2, 24) % 3
    mesh = None if sizes is None else _mesh(**sizes)
    heads = (head[:T], head[T:])
    made = jax.jit(partial(loss_sums, softmax=softmax, chunk=5, mesh=mesh, parts=(part, 3)))
    sums = made(hidden, heads, targets, weights)
    ce, text = np.asarray(_plain(softmax, hidden, head, targets, weights)), np.asarray(targets) < T
    for modality, p in np.ndindex(2, 3):
        chosen = (text if modality == TEXT else ~text) & (np.asarray(part) == p)
        np.testing.assert_allclose(sums.ce_by_modality[modality, p], ce[chosen].sum(), rtol=1e-5)
        np.testing.assert_allclose(sums.weight_by_modality[modality, p], np.asarray(weights)[chosen].sum(), rtol=1e-5)
    np.testing.assert_allclose(sums.ce, ce.sum(), rtol=1e-5)


def test_ranges_of_positions_double_up_to_the_length() -> None:
    assert position_ranges(1) == [(0, 0)]
    assert position_ranges(6) == [(0, 0), (1, 1), (2, 3), (4, 5)]
    for length in (1, 2, 3, 4, 5, 64, 65):
        of_each = [32 - int(lax.clz(jnp.int32(position))) for position in range(length)]
        for number, (first, last) in enumerate(position_ranges(length)):
            assert [p for p in range(length) if of_each[p] == number] == list(range(first, last + 1))


def test_by_modality_ignores_the_head_of_the_other_modality() -> None:
    hidden, head, _, weights = _inputs(np.random.default_rng(5), rows=1, length=12)
    text = jnp.arange(12, dtype=jnp.int32)[None] % T
    sums = _sums("by_modality", hidden, head, text, weights)
    other = _sums("by_modality", hidden, head.at[T:].multiply(7.0), text, weights)
    assert np.array_equal(sums.ce, other.ce)
    joint = (_sums("joint", hidden, h, text, weights).ce for h in (head, head.at[T:].multiply(7.0)))
    assert not np.array_equal(*joint)


def test_chunks_without_weights_are_skipped() -> None:
    hidden, head, targets, weights = _inputs(np.random.default_rng(4), rows=1, length=16)
    weights = weights.at[:, 4:12].set(0.0)
    spoilt = hidden.at[:, 4:12].set(jnp.nan)  # NaN times 0 is NaN: it must not be touched at all
    (ce, gradient), (expected, plain) = (
        jax.value_and_grad(lambda h: _sums("joint", h, head, targets, weights).ce)(h) for h in (spoilt, hidden)
    )
    assert np.array_equal(ce, expected)
    assert np.array_equal(gradient, plain)
    assert not gradient[:, 4:12].any()


def test_large_logits_do_not_overflow() -> None:
    hidden, head, targets, weights = _inputs(np.random.default_rng(1), rows=1, length=8)
    gradient = jax.grad(lambda h: _sums("joint", h, head, targets, weights).ce)
    assert np.isfinite(gradient(hidden * 1e4)).all()


def test_zero_weights_give_zero_loss_and_zero_gradient() -> None:
    hidden, head, targets, _ = _inputs(np.random.default_rng(2), rows=1, length=8)
    none = jnp.zeros((1, 8))
    loss, gradient = jax.value_and_grad(lambda h: _sums("joint", h, head, targets, none).mean)(hidden)
    assert loss == 0
    assert not gradient.any()


def test_a_sequence_that_the_mesh_does_not_divide_is_rejected() -> None:
    with pytest.raises(ConfigError, match="10 tokens"):
        _sums("joint", *_inputs(np.random.default_rng(3), rows=1, length=10), mesh=_mesh(sequence=4))


def _rows(documents: list[np.ndarray], weights: list[float], *, length: int) -> dict[str, np.ndarray]:
    """Pack documents into one row, as the loader would: targets and weights shifted together."""
    spans = np.zeros(len(documents), SPAN_DTYPE)
    spans["length"] = [len(d) for d in documents]
    spans["start"] = np.cumsum(spans["length"]) - spans["length"]
    spans["document"], spans["weight"] = np.arange(len(documents)), weights
    tokens = np.zeros(length + 1, np.int32)
    tokens[: spans["length"].sum()] = np.concatenate(documents)
    inputs = expand(spans, length)
    shifted = np.append(inputs.weights[1:], np.float32(0))
    return {
        "tokens": tokens[:-1],
        "targets": tokens[1:],
        "weights": shifted,
        "segment_ids": inputs.segment_ids,
        "positions": inputs.positions,
    }


def _stack(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


@lru_cache(maxsize=1)
def _model() -> Model:
    return create(debug(), text_size=T, vision_size=VOCABULARY.vision_size, mesh=_mesh(sequence=1), seed=5)


_loss = jax.jit(jax.value_and_grad(lambda model, batch: batch_sums(model, batch).mean))


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 1 << 30))
def test_packed_documents_have_the_loss_of_padded_unpacked_documents(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.choice(np.arange(1, 60), size=3, replace=False))
    lengths = [*np.diff(cuts, prepend=0).tolist(), 60 - int(cuts[-1])]
    documents = [rng.integers(0, V, n).astype(np.int32) for n in lengths]
    weights = rng.uniform(0.2, 3, 4).tolist()
    model = _model()
    empty = _rows(documents[:1], [0.0], length=64) | {"segment_ids": np.zeros(64, np.int32)}
    loss, gradients = _loss(model, _stack([_rows(documents, weights, length=64), empty, empty, empty]))
    apart = _stack([_rows([d], [w], length=64) for d, w in zip(documents, weights, strict=True)])
    expected, whole = _loss(model, apart)
    np.testing.assert_allclose(loss, expected, rtol=2e-6)
    for a, b in zip(jax.tree.leaves(gradients), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)
