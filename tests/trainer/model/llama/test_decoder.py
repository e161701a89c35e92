from __future__ import annotations

import os
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.support.training.decoder_parts import EVERY_PART, shaken
from tests.support.training.decoding import counting_decoder, pages_for, run_block
from tests.support.training.packed_sequences import VOCABULARY
from trainer.attention.paged import PageView
from trainer.config import Dtype, MeshConfig
from trainer.mesh import make_mesh
from trainer.model.llama.matrices import Pairs
from trainer.model.llama.transformer import Transformer
from trainer.model.protocol import CacheShape
from trainer.model.registry import create

TEXT, VISION = VOCABULARY.text_size, VOCABULARY.vision_size


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "layers", "parts"), [("float32", EVERY_PART.layers, (5, 2, 1)), ("bfloat16", 1, (1, 1, 1))]
)
def test_the_inference_form_equals_a_whole_pass_with_every_part(
    dtype: Dtype, layers: int, parts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: parts[0])  # matrices of parts of different sizes
    mesh = make_mesh(MeshConfig(), devices=jax.devices()[:1])
    config = replace(EVERY_PART, layers=layers)
    model = create(config, text_size=TEXT, vision_size=VISION, mesh=mesh, seed=7)
    assert isinstance(model, Transformer)
    model = _rounded(shaken(model), dtype)
    tokens = np.random.default_rng(8).integers(0, VOCABULARY.size, (2, 12)).astype(np.int32)
    positions = np.tile(np.arange(12, dtype=np.int32), (2, 1))
    whole = jax.jit(lambda model, *rows: model(*rows))(model, tokens, np.ones_like(tokens), positions)
    decoder = model.decoder(None, dtype=dtype)
    assert isinstance(decoder.heads[0], Pairs) == (dtype == "bfloat16")
    assert [len(decoder.layers[0][name]) for name in ("down", "gate", "key")] == [*parts]
    pages, tables = pages_for(decoder, rows=2, length=12)
    for part in (slice(0, 9), slice(9, 10), slice(10, 11), slice(11, 12)):
        view = PageView(tables, jnp.asarray(positions[:, part]))
        pages, made = run_block(decoder, pages, jnp.asarray(tokens[:, part]), view)
        expected = np.concatenate([whole[:, part.stop - 1] @ np.asarray(head).T for head in model.heads()], axis=1)
        np.testing.assert_allclose(made, expected, atol=1e-4)


def _rounded(model: Transformer, dtype: Dtype) -> Transformer:
    """Round the matrices, which the inference form has in `dtype`; it computes in float32."""

    def rounded(x: jax.Array) -> jax.Array:
        matrix = x.ndim > 2 or x.shape[0] in (TEXT, VISION)
        return x.astype(dtype).astype(jnp.float32) if matrix else x

    graph, state = nnx.split(model)
    return nnx.merge(graph, jax.tree.map(rounded, state))


def test_its_sizes_are_those_of_the_tables_and_the_configuration() -> None:
    decoder = counting_decoder(layers=3, kv_heads=2, head_dim=6)
    assert (decoder.text_size, decoder.vision_size) == (TEXT, VISION)
    assert decoder.cache == CacheShape(layers=3, kv_heads=2, head_dim=6)


def test_logits_are_those_of_the_heads_of_both_modalities_in_the_order_of_the_ids() -> None:
    made = counting_decoder().logits(jnp.eye(TEXT + VISION, dtype=jnp.float32))
    assert np.asarray(made).argmax(1).tolist() == [*range(1, TEXT + VISION), 0]
