from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import Mesh

from schemas.errors import ConfigError
from tests.support.training.decoder_parts import EVERY_PART, shaken
from tests.support.training.packed_sequences import VOCABULARY, Packed, packed, random_order
from trainer.attention.context_parallel import LSE, attention
from trainer.attention.reference import dense_attention
from trainer.config import AttentionMethod, MeshConfig, Remat
from trainer.mesh import batch_sharding, make_mesh
from trainer.model.llama.config import LlamaConfig, debug
from trainer.model.llama.rope_scaling import frequencies
from trainer.model.llama.transformer import Transformer
from trainer.model.loss import batch_sums
from trainer.model.registry import create

pytestmark = pytest.mark.slow

TEXT, VISION = VOCABULARY.text_size, VOCABULARY.vision_size


def _mesh(**sizes: int) -> Mesh:
    return make_mesh(MeshConfig(**sizes), devices=jax.devices()[: int(np.prod(list(sizes.values())))])


@lru_cache
def _model(mesh: Mesh | None = None, config: LlamaConfig | None = None) -> Transformer:
    config = config or debug()
    model = create(config, text_size=TEXT, vision_size=VISION, mesh=mesh or _mesh(sequence=1), seed=7)
    assert isinstance(model, Transformer)
    return model


@jax.jit
def _hidden(model: Transformer, rows: Packed) -> jax.Array:
    return model(*rows)


@pytest.fixture(scope="module")
def model() -> Transformer:
    return _model()


@pytest.fixture
def rows() -> Packed:
    return packed(np.random.default_rng(0), rows=2, length=64, longest=40)


@jax.jit
def _plain(model: Transformer, rows: Packed, cos: jax.Array, sin: jax.Array) -> jax.Array:
    """The same decoder once more, one thing after another: no scan, no tiles, no chunks."""

    def norm(x: jax.Array, scale: jax.Array) -> jax.Array:
        return x / jnp.sqrt((x * x).mean(-1, keepdims=True) + model.config.norm_eps) * scale

    def turned(x: jax.Array) -> jax.Array:
        left, right = jnp.split(x, 2, axis=-1)
        return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)

    about = model.config
    table = jnp.concatenate([model.text_embedding.get_value(), model.vision_embedding.get_value()])
    x = table[rows.tokens]
    for n in range(about.layers):
        w = {name: parameter.get_value()[n] for name, parameter in model.layers.items()}
        y = norm(x, w["attention_norm"])
        q, k, v = (jnp.einsum("bsd,dnh->bsnh", y, w[name]) for name in ("query", "key", "value"))
        if about.qkv_bias:
            q, k, v = (x + w[f"{name}_bias"] for x, name in ((q, "query"), (k, "key"), (v, "value")))
        if about.qk_norm:
            q, k = norm(q, w["query_norm"]), norm(k, w["key_norm"])
        attended = dense_attention(turned(q), turned(k), v, rows.segment_ids, rows.positions)
        x = x + jnp.einsum("bsnh,nhd->bsd", attended, w["output"])
        if about.output_bias:
            x = x + w["output_bias"]
        y = norm(x, w["ff_norm"])
        x = x + (jax.nn.silu(y @ w["gate"]) * (y @ w["up"])) @ w["down"]
    return norm(x, model.final_norm.get_value())


@pytest.mark.parametrize("config", [debug(), EVERY_PART], ids=["plain", "every_part"])
def test_hidden_states_equal_those_of_a_plain_implementation(config: LlamaConfig, rows: Packed) -> None:
    model = shaken(_model(config=config))
    made = _hidden(model, rows)
    assert made.shape == (2, 64, 32)
    speeds = frequencies(head_dim=config.head_dim, theta=config.rope_theta, scaling=config.rope_scaling)
    amplitude = config.rope_scaling.amplitude if config.rope_scaling else 1.0
    angles = rows.positions[..., None, None] * speeds
    cos, sin = ((amplitude * turn(angles)).astype(np.float32) for turn in (np.cos, np.sin))
    with jax.numpy_rank_promotion("allow"):
        expected = _plain(model, rows, cos, sin)
    np.testing.assert_allclose(made, expected, atol=2e-5)


def test_a_model_without_vision_ids_has_no_vision_tables(rows: Packed) -> None:
    mesh = _mesh(sequence=1)
    model = create(debug(), text_size=TEXT, vision_size=0, mesh=mesh, seed=7)
    assert not {"vision_embedding", "vision_head"} & set(nnx.state(model))
    text, vision = model.heads()
    assert (text.shape, vision.shape) == ((TEXT, 32), (0, 32))
    batch = _batch(mesh, rows=1)
    batch |= {name: batch[name] % TEXT for name in ("tokens", "targets")}
    for softmax in ("joint", "by_modality"):
        model.config = dataclasses.replace(debug(), softmax=softmax)
        sums = batch_sums(model, batch)
        assert float(sums.weight_by_modality[1]) == 0
        assert float(sums.mean) == pytest.approx(math.log(TEXT), abs=1)


def test_hidden_states_do_not_depend_on_the_order_of_the_sequence(model: Transformer, rows: Packed) -> None:
    order = random_order(np.random.default_rng(1), 64)
    np.testing.assert_allclose(_hidden(model, rows.permuted(order)), _hidden(model, rows)[:, order], atol=1e-5)


def test_documents_do_not_affect_each_other(model: Transformer, rows: Packed) -> None:
    changed = rows.segment_ids == 2
    assert changed.any()
    other = rows._replace(tokens=np.where(changed, (rows.tokens + 1) % VOCABULARY.size, rows.tokens).astype(np.int32))
    before, after = np.asarray(_hidden(model, rows)), np.asarray(_hidden(model, other))
    assert np.array_equal(before[~changed], after[~changed])
    assert not np.array_equal(before[changed], after[changed])


def test_later_tokens_do_not_affect_earlier_ones(model: Transformer, rows: Packed) -> None:
    rows = Packed(rows.tokens, np.ones_like(rows.tokens), np.tile(np.arange(64, dtype=np.int32), (2, 1)))
    tokens = rows.tokens.copy()
    tokens[:, 40:] = (tokens[:, 40:] + 1) % VOCABULARY.size
    before, after = np.asarray(_hidden(model, rows)), np.asarray(_hidden(model, rows._replace(tokens=tokens)))
    assert np.array_equal(before[:, :40], after[:, :40])
    assert np.all(before[:, 40:] != after[:, 40:])


def _batch(mesh: Mesh, *, rows: int) -> dict[str, jax.Array]:
    rng = np.random.default_rng(3)
    made = packed(rng, rows=rows, length=64, longest=40)
    arrays: dict[str, Any] = made._asdict()
    arrays["targets"] = rng.integers(0, VOCABULARY.size, made.tokens.shape).astype(np.int32)
    arrays["weights"] = (rng.random(made.tokens.shape) * (made.segment_ids != 0)).astype(np.float32)
    return {name: jax.device_put(x, batch_sharding(mesh)) for name, x in arrays.items()}


@lru_cache
def _loss_and_gradients(mesh: Mesh, config: LlamaConfig | None = None) -> tuple[jax.Array, Any]:
    graph, params = nnx.split(_model(mesh, config))
    loss = jax.value_and_grad(lambda p, batch: batch_sums(nnx.merge(graph, p), batch).mean)
    step = jax.jit(loss)
    value, gradients = step(params, _batch(mesh, rows=4))
    return value, jax.device_get(gradients)


@pytest.mark.parametrize(
    ("method", "sizes"),
    [
        pytest.param("all_gather", {"data": 2, "sequence": 4}, marks=pytest.mark.campaign),
        ("ring", {"fsdp": 2, "tensor": 2, "sequence": 2}),
        pytest.param("ulysses", {"fsdp": 2, "sequence": 2}, marks=pytest.mark.campaign),
    ],
)
def test_loss_and_gradients_are_the_same_on_every_mesh(method: AttentionMethod, sizes: dict[str, int]) -> None:
    loss, gradients = _loss_and_gradients(_mesh(**sizes), dataclasses.replace(EVERY_PART, attention=method))
    alone, expected = _loss_and_gradients(_mesh(sequence=1), EVERY_PART)
    np.testing.assert_allclose(loss, alone, rtol=1e-6)
    for path, a in jax.tree.leaves_with_path(gradients):
        b = dict(jax.tree.leaves_with_path(expected))[path]
        assert np.abs(b).max() > 0
        np.testing.assert_allclose(a, b, atol=1e-6 + 1e-5 * np.abs(b).max(), err_msg=jax.tree_util.keystr(path))


def test_bfloat16_stays_near_float32_and_keeps_float32_parameters(model: Transformer, rows: Packed) -> None:
    half = _model(config=dataclasses.replace(debug(), dtype="bfloat16"))
    made = _hidden(half, rows)
    assert made.dtype == jnp.bfloat16
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(nnx.state(half)))
    difference = jnp.linalg.norm(made.astype(jnp.float32) - _hidden(model, rows))
    assert float(difference) < 0.02 * float(jnp.linalg.norm(_hidden(model, rows)))


def test_text_and_vision_ids_have_separate_embedding_tables(model: Transformer) -> None:
    tokens = jnp.asarray([[0, TEXT - 1, TEXT, TEXT + VISION - 1]])
    rows = model.embed(tokens)[0]
    text, vision = model.text_embedding.get_value(), model.vision_embedding.get_value()
    assert jnp.array_equal(rows, jnp.stack([text[0], text[-1], vision[0], vision[-1]]))
    assert [head.shape for head in model.heads()] == [(TEXT, 32), (VISION, 32)]


def test_feed_forward_columns_that_the_mesh_does_not_divide_are_rejected() -> None:
    config = dataclasses.replace(debug(), ff_dim=47)
    with pytest.raises(ConfigError, match="ff_dim = 47"):
        _model(_mesh(tensor=2, sequence=1), config)


def _equations(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")):
            if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                yield from _equations(getattr(inner, "jaxpr", inner))


def _avals(equation: Any) -> list[Any]:
    return [v.aval for v in equation.outvars if hasattr(v.aval, "memory_space")]


def _step_equations(mesh: Mesh, *, length: int, config: LlamaConfig | None = None) -> list[Any]:
    """Return every operation of a training step's forward and backward, with those inside loops."""
    ids = jax.ShapeDtypeStruct((1, length), jnp.int32)
    batch = dict.fromkeys(("tokens", "targets", "segment_ids", "positions"), ids)
    batch["weights"] = jax.ShapeDtypeStruct((1, length), jnp.float32)
    graph, params = nnx.split(_model(mesh, config))
    step = jax.value_and_grad(lambda p, batch: batch_sums(nnx.merge(graph, p), batch).mean)
    return list(_equations(jax.make_jaxpr(step)(params, batch).jaxpr))


def test_no_array_has_the_size_of_scores_logits_or_feed_forward_activations() -> None:
    length, config = 4096, debug()
    equations = _step_equations(_mesh(sequence=1), length=length)
    sizes = {v.aval.size: e.primitive.name for e in equations for v in e.outvars if hasattr(v.aval, "size")}
    largest = max(sizes)
    assert any(e.primitive.name == "dot_general" for e in equations)
    # The stream that is kept for every layer, [L,S,D], is the largest thing there is.
    assert largest == config.layers * length * config.dim, sizes[largest]
    assert largest < min(length * length, length * (TEXT + VISION) * config.layers, length * config.ff_dim * 2)


def _attention_equations(mesh: Mesh, *, length: int) -> list[Any]:
    """Return every operation of attention's forward and backward alone."""
    c = debug()
    q, k = (jax.ShapeDtypeStruct((1, length, heads, c.head_dim), jnp.float32) for heads in (c.heads, c.kv_heads))
    ids = jax.ShapeDtypeStruct((1, length), jnp.int32)
    attend = partial(attention, mesh=mesh, tile=c.tile)
    gradient = jax.grad(lambda *a: jnp.square(attend(*a)).sum(), argnums=(0, 1, 2))
    return list(_equations(jax.make_jaxpr(gradient)(q, k, k, ids, ids).jaxpr))


def _count(equations: list[Any], primitive: str) -> int:
    return sum(e.primitive.name == primitive for e in equations)


def test_the_backward_pass_does_not_recompute_attention() -> None:
    mesh = _mesh(sequence=4)
    step, alone = _step_equations(mesh, length=64), _attention_equations(mesh, length=64)
    assert _count(step, "ppermute") == _count(alone, "ppermute") > 0
    # The log-sum-exp gets its name where the forward ends.
    assert [e.params["name"] for e in step if e.primitive.name == "name"].count(LSE) == 1


@pytest.mark.parametrize("remat", ["full", "projections"])
def test_loss_and_gradients_do_not_depend_on_what_is_recomputed(remat: Remat) -> None:
    mesh = _mesh(sequence=1)
    loss, gradients = _loss_and_gradients(mesh, dataclasses.replace(debug(), remat=remat))
    expected, same = _loss_and_gradients(mesh)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    for ours, theirs in zip(jax.tree.leaves(gradients), jax.tree.leaves(same), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_policy_projections_keeps_queries_keys_and_values_too() -> None:
    length, c = 64, dataclasses.replace(debug(), remat="projections", offload=True)
    loops = [e for e in _step_equations(_mesh(sequence=1), length=length, config=c) if e.primitive.name == "scan"]
    kept = [a for e in loops for a in _avals(e) if a.memory_space == jax.memory.Space.Host]
    per_token = c.dim + c.heads * c.head_dim + c.heads + (c.heads + 2 * c.kv_heads) * c.head_dim
    assert sum(a.size for a in kept) == c.layers * length * per_token


def test_saved_activations_can_be_offloaded_to_host_memory() -> None:
    mesh = _mesh(sequence=1)
    config = dataclasses.replace(debug(), offload=True)
    length, c = 64, config
    loops = [e for e in _step_equations(mesh, length=length, config=config) if e.primitive.name == "scan"]
    kept = [a for e in loops for a in _avals(e) if a.memory_space == jax.memory.Space.Host]
    assert sum(a.size for a in kept) == c.layers * length * (c.dim + c.heads * c.head_dim + c.heads)
    usual = [a for e in _step_equations(mesh, length=length) for a in _avals(e)]
    assert not any(a.memory_space == jax.memory.Space.Host for a in usual)
    loss, gradients = _loss_and_gradients(mesh, config)
    expected, same = _loss_and_gradients(mesh)
    assert loss == expected
    assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (gradients, same)), strict=True))
