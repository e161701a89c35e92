from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from tests.support.training import bigram_model
from tests.support.training.decoding import pages_for
from tests.support.training.packed_sequences import VOCABULARY
from trainer.attention.paged import PageView
from trainer.mesh import RULES
from trainer.model.protocol import Model, ModelFamily
from trainer.model.registry import FAMILIES

BATCH, LENGTH, ROOM = 2, 8, 16


@pytest.fixture(params=[*FAMILIES.values(), bigram_model.FAMILY], ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> ModelFamily:
    made: ModelFamily = request.param
    return made


@pytest.fixture
def model(family: ModelFamily) -> Model:
    """The family's first recipe, as shapes only."""
    config = next(iter(family.recipes.values()))()
    sizes = {"text_size": VOCABULARY.text_size, "vision_size": VOCABULARY.vision_size}
    made: Model = nnx.eval_shape(lambda: family.build(config, **sizes, rngs=nnx.Rngs(0), mesh=None))
    return made


def _ids(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.int32)


def test_hidden_states_and_heads_have_the_documented_shapes(model: Model) -> None:
    hidden = nnx.eval_shape(lambda m, *x: m(*x), model, *(_ids(BATCH, LENGTH),) * 3)
    text, vision = nnx.eval_shape(lambda m: m.heads(), model)
    assert hidden.shape[:2] == (BATCH, LENGTH)
    assert hidden.dtype == text.dtype == vision.dtype == model.config.dtype
    assert text.shape == (VOCABULARY.text_size, hidden.shape[2])
    assert vision.shape == (VOCABULARY.vision_size, hidden.shape[2])


@pytest.mark.slow
def test_the_inference_form_has_the_documented_shapes(family: ModelFamily) -> None:
    config = dataclasses.replace(next(iter(family.recipes.values()))(), dtype="bfloat16")
    sizes = {"text_size": VOCABULARY.text_size, "vision_size": VOCABULARY.vision_size}
    decoder = family.build(config, **sizes, rngs=nnx.Rngs(0), mesh=None).decoder(None)
    assert (decoder.text_size, decoder.vision_size) == (VOCABULARY.text_size, VOCABULARY.vision_size)
    pages, tables = pages_for(decoder, rows=BATCH, length=ROOM)
    view = PageView(tables, jnp.zeros((BATCH, LENGTH), jnp.int32))
    after, hidden = jax.eval_shape(decoder.extend, pages, _ids(BATCH, LENGTH), view)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), pages)
    assert hidden.shape[:2] == (BATCH, LENGTH)
    logits = jax.eval_shape(lambda x: decoder.logits(x[:, -1]), hidden)
    assert (logits.shape, logits.dtype) == ((BATCH, VOCABULARY.size), jnp.float32)


def test_parameters_are_float32_and_name_their_dims(model: Model) -> None:
    parameters = jax.tree.leaves(nnx.state(model, nnx.Param), is_leaf=lambda x: isinstance(x, nnx.Variable))
    assert parameters
    for parameter in parameters:
        assert parameter.get_value().dtype == jnp.float32
        dims = parameter.get_metadata()["dims"]
        assert isinstance(parameter.get_metadata()["decayed"], bool)
        assert len(dims) == len(parameter.get_value().shape)
        assert set(dims) <= set(RULES)
