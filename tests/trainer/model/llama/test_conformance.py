"""Compares the model family with transformers, which is independent of it, on random small decoders of every family."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import Mesh
from numpy.typing import NDArray

from tests.support.training.decoding import last_logits
from tests.support.training.packed_sequences import Packed
from trainer.attention.context_parallel import STRATEGIES
from trainer.config import MeshConfig
from trainer.mesh import batch_sharding, make_mesh
from trainer.model.loss import batch_sums
from trainer.model.protocol import Model
from trainer.model.registry import create

_REASON = "compares with torch and transformers: pip install 'longreel[reference]'"
torch: Any = pytest.importorskip("torch", reason=_REASON)
pytest.importorskip("transformers", reason=_REASON)
decoders: Any = pytest.importorskip("tests.support.training.huggingface_decoders")

pytestmark = pytest.mark.slow

SEEDS = (0, 1)
LENGTHS = (40, 17, 1, 30, 8)  # of the documents, below and above the pretraining's context
ROW = 64
CASES = [(family, seed) for family in decoders.FAMILY_NAMES for seed in SEEDS]


@cache
def _documents() -> tuple[NDArray[np.int64], ...]:
    rng = np.random.default_rng(3)
    return tuple(rng.integers(0, decoders.TEXT_SIZE, n) for n in LENGTHS)


def _rows() -> Packed:
    """Two rows: 40 + 17 tokens, and 1 + 30 + 8, with padding after them."""
    rows = Packed(*(np.zeros((2, ROW), np.int32) for _ in range(3)))
    for row, numbers in enumerate([(0, 1), (2, 3, 4)]):
        start = 0
        for segment, document in enumerate((_documents()[n] for n in numbers), start=1):
            place = slice(start, start + len(document))
            rows.tokens[row, place], rows.segment_ids[row, place] = document, segment
            rows.positions[row, place] = np.arange(len(document))
            start += len(document)
    return rows


def _batch(mesh: Mesh, order: NDArray[np.int64]) -> dict[str, jax.Array]:
    """Return the packed rows with their next tokens as targets; the last token of a document has none."""
    rows = _rows()
    targets, weights = np.roll(rows.tokens, -1, axis=1), np.zeros((2, ROW), np.float32)
    weights[:, :-1] = (rows.segment_ids[:, :-1] == rows.segment_ids[:, 1:]) & (rows.segment_ids[:, :-1] != 0)
    arrays = rows._asdict() | {"targets": targets, "weights": weights}
    return {name: jax.device_put(x[:, order], batch_sharding(mesh)) for name, x in arrays.items()}


def _mesh(**sizes: int) -> Mesh:
    return make_mesh(MeshConfig(**sizes), devices=jax.devices()[: int(np.prod(list(sizes.values())))])


def _ours(pair: Any, published: Any, mesh: Mesh) -> Model:
    """Return the family's model with the weights of the published one."""
    model = create(pair.config, text_size=decoders.TEXT_SIZE, vision_size=0, mesh=mesh, seed=0)
    graph, params = nnx.split(model)
    values = decoders.params_of(dict(published.named_parameters()), pair.config)
    return nnx.merge(graph, decoders.filled(params, values))


@pytest.mark.parametrize(("family", "seed"), CASES)
def test_logits_equal_those_of_transformers(family: str, seed: int) -> None:
    pair = decoders.pair(family, seed)
    published = pair.published(seed)
    model = _ours(pair, published, _mesh(sequence=1))
    tokens = _documents()[0][None]
    with torch.no_grad():
        expected = published(torch.tensor(tokens)).logits.numpy()

    @jax.jit
    def logits(model: Model, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
        positions = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None]
        hidden = model(tokens, jnp.ones_like(tokens), positions)
        whole = jnp.einsum("bsd,vd->bsv", hidden, model.heads()[0])
        return whole, last_logits(model.decoder(None), tokens, first=tokens.shape[1] - 1)

    whole, last = logits(model, jnp.asarray(tokens, jnp.int32))
    assert expected.std() > 0.3
    np.testing.assert_allclose(whole, expected, atol=1e-4, rtol=0)
    np.testing.assert_allclose(last, expected[:, -1], atol=1e-4, rtol=0)


def _one_by_one(published: Any, config: Any) -> tuple[float, Any]:
    """Return the mean loss of all targets and its gradients, from transformers and one document at a time."""
    total, count = 0.0, 0
    for document in _documents():
        tokens = torch.tensor(document[None])
        logits = published(tokens).logits[0, :-1]
        total = total + torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="sum")
        count += len(document) - 1
    loss = total / count
    loss.backward()
    return float(loss.detach()), decoders.params_of({n: p.grad for n, p in published.named_parameters()}, config)


@pytest.mark.parametrize(("family", "seed"), CASES)
def test_loss_and_gradients_of_packed_rows_equal_those_of_the_documents_one_by_one(family: str, seed: int) -> None:
    pair = decoders.pair(family, seed)
    published = pair.published(seed)
    # Meshes and strategies take turns, so that every family meets several.
    turn = CASES.index((family, seed))
    sizes = [{"sequence": 4}, {"tensor": 2, "sequence": 2}, {"fsdp": 2, "sequence": 2}][turn % 3]
    method = list(STRATEGIES)[turn % 3 if pair.config.kv_heads >= 4 or turn % 3 != 2 else 0]
    mesh = _mesh(**sizes)
    model = _ours(pair, published, mesh)
    model.config = pair.replaced(attention=method)
    expected_loss, expected = _one_by_one(published, pair.config)
    graph, params = nnx.split(model)
    order = np.random.default_rng(turn).permutation(ROW)
    step = jax.jit(jax.value_and_grad(lambda p, batch: batch_sums(nnx.merge(graph, p), batch).mean))
    loss, gradients = step(params, _batch(mesh, order))
    assert float(loss) == pytest.approx(expected_loss, abs=1e-4)
    made = nnx.to_pure_dict(jax.device_get(gradients))
    for (path, a), b in zip(jax.tree.leaves_with_path(made), jax.tree.leaves(expected), strict=True):
        assert np.abs(b).max() > 1e-4, path
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=0, err_msg=jax.tree_util.keystr(path))
