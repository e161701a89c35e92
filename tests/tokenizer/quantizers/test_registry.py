"""Properties of every registered quantizer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from schemas.errors import ConfigError
from tests.support.vqgan.quantizer_examples import KEY, OPTIONS, initialized, noise
from tests.support.vqgan.tiny_vqgan import DOT, TINY, tiny_params
from tokenizer.checkpoints import checkpoint
from tokenizer.checkpoints.checkpoint import Weights
from tokenizer.codec import FrameCodec
from tokenizer.config import CONFIGS, VqganConfig
from tokenizer.quantizers.base import (
    Quantized,
    Variables,
    mse_to_target,
    nearest_codes,
    perplexity,
    straight_through,
)
from tokenizer.quantizers.lookup import find_codes
from tokenizer.quantizers.registry import Quantizers
from tokenizer.training.config import TokenizerTrainConfig
from tokenizer.training.crops import CropConfig
from tokenizer.training.step import abstract_state, make_train_step
from tokenizer.vqgan.vqgan import abstract, to_unit

pytestmark = pytest.mark.slow

NAMES = Quantizers.names()


@dataclass(frozen=True, kw_only=True)
class FrozenConfig:
    """A quantizer of this test module: the nearest of random codes that never change."""

    commitment: float = 1.0

    def configure(self, model: VqganConfig) -> VqganConfig:
        return model

    def init(self, latents: jax.Array, key: jax.Array, *, codes: int, mean_count: float) -> Variables:
        return self.init_from_codebook(jax.random.normal(key, (codes, latents.shape[1])), mean_count=mean_count)

    def init_from_codebook(self, codebook: jax.Array, *, mean_count: float) -> Variables:
        return Variables((), codebook)

    def quantize(self, variables: Variables, latents: jax.Array, key: jax.Array) -> Quantized:
        codes = nearest_codes(latents, variables.state)
        values = variables.state[codes]
        loss = self.commitment * mse_to_target(latents, values)
        return Quantized(straight_through(latents, values), codes, loss, variables.state, {})

    def codebook(self, variables: Variables) -> jax.Array:
        codebook: jax.Array = variables.state
        return codebook


@dataclass(frozen=True, kw_only=True)
class WithFrozen(Quantizers):
    """The registration of a quantizer is one field."""

    frozen: FrozenConfig = field(default_factory=FrozenConfig)


def test_a_quantizer_is_added_with_one_class_and_one_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONFIGS, "dot", lambda: DOT)
    run = TokenizerTrainConfig(
        architecture="dot", quantizer="frozen", options=WithFrozen(), crop=CropConfig(size=8), batch=2
    )
    assert run.codebook == FrozenConfig()
    state, images = abstract_state(run), jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.uint8)
    after, metrics = jax.eval_shape(make_train_step(run, adversarial=False), state, images)
    assert jax.tree.map(lambda a: a.shape, after) == jax.tree.map(lambda a: a.shape, state)
    assert metrics["code_counts"].shape == (run.model.codebook_size,)
    latents = noise(20, run.model.latent_dim)
    variables = run.codebook.init(latents, KEY, codes=16, mean_count=1.0)
    codes = find_codes(latents, run.codebook.codebook(variables), lookup=run.model.lookup)
    np.testing.assert_array_equal(run.codebook.quantize(variables, latents, KEY).codes, codes)
    with pytest.raises(ConfigError, match="one of ema, ibq, fsq, simvq, l2, frozen, got 'vq'"):
        WithFrozen().get("vq")


@pytest.mark.parametrize("name", NAMES)
def test_training_assigns_the_codes_that_lookup_in_the_exported_codebook_finds(name: str) -> None:
    quantizer, variables, latents = initialized(name, count=500, seed=5)
    model, codebook = quantizer.configure(TINY), quantizer.codebook(variables)
    quantized = jax.jit(quantizer.quantize)(variables, latents, KEY)
    assert codebook.shape == (model.codebook_size, model.latent_dim)
    np.testing.assert_array_equal(quantized.codes, find_codes(latents, codebook, lookup=model.lookup))
    np.testing.assert_allclose(quantized.values, codebook[quantized.codes], atol=1e-5)
    assert len(np.unique(quantized.codes)) > model.codebook_size // 4


@pytest.mark.parametrize("name", ["ibq", "fsq", "l2"])  # one per lookup rule other than distance
def test_a_saved_tokenizer_encodes_to_the_codes_of_training(name: str, tmp_path: Path) -> None:
    quantizer = OPTIONS.get(name)
    model = quantizer.configure(TINY)
    params = tiny_params(model)
    frames = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 3), np.uint8)
    encode = jax.jit(lambda frames: nnx.merge(abstract(model)[0], params).latents(to_unit(frames)))
    latents = encode(jnp.asarray(frames)).reshape(-1, model.latent_dim)
    variables = quantizer.init(latents, KEY, codes=model.codebook_size, mean_count=1.0)
    checkpoint.save(tmp_path / "q.safetensors", Weights(model, params, quantizer.codebook(variables)))
    codec = FrameCodec.load(str(tmp_path / "q.safetensors"))
    codes = codec.encode(frames)
    assert codec.config.lookup == model.lookup
    same = codes.ravel() == np.asarray(quantizer.quantize(variables, latents, KEY).codes)
    assert same.mean() > 0.995  # two compilations of the encoder differ in the last bit


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_of_the_quantized_values_reaches_the_latents(name: str) -> None:
    quantizer, variables, latents = initialized(name)
    target = noise(*latents.shape, seed=9)

    def through(latents: jax.Array) -> jax.Array:
        return (quantizer.quantize(variables, latents, KEY).values * target).sum()

    slope = np.asarray(jax.jit(jax.grad(through))(latents))
    assert np.isfinite(slope).all()
    assert (np.abs(slope).sum(-1) > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_has_a_gradient_for_the_parameters_and_not_for_the_state(name: str) -> None:
    quantizer, variables, latents = initialized(name)

    def loss(variables: Variables) -> jax.Array:
        return quantizer.quantize(variables, latents, KEY).loss

    slopes = jax.jit(jax.grad(loss))(variables)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(slopes.params))
    assert all(float(jnp.abs(leaf).max()) == 0 for leaf in jax.tree.leaves(slopes.state))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_key_gives_identical_results(name: str) -> None:
    (quantizer, variables, latents), (_, again, _) = initialized(name), initialized(name)
    jax.tree.map(np.testing.assert_array_equal, variables, again)
    run = jax.jit(quantizer.quantize)
    one, other = (run(v, latents, KEY) for v in (variables, again))
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("name", NAMES)
def test_a_quantizer_is_initialized_from_its_exported_codebook(name: str) -> None:
    quantizer, variables, _ = initialized(name)
    codebook = quantizer.codebook(variables)
    again = quantizer.init_from_codebook(codebook, mean_count=2.0)
    np.testing.assert_allclose(quantizer.codebook(again), codebook, atol=1e-6)
    assert jax.tree.structure(again) == jax.tree.structure(variables)


@pytest.mark.parametrize("name", NAMES)
def test_training_uses_more_codes_and_reduces_the_error(name: str) -> None:
    """Train a linear encoder and decoder on 16 clusters, whose initial latents are almost equal."""
    quantizer = OPTIONS.get(name)
    model = quantizer.configure(TINY)
    centers = noise(16, 8, seed=1) * 3
    data = centers[jnp.arange(256) % 16] + noise(256, 8, seed=2) * 0.1
    weights = {
        "encoder": noise(8, model.latent_dim, seed=3) * 0.02,
        "decoder": noise(model.latent_dim, 8, seed=4) * 0.3,
        "shift": noise(model.latent_dim, seed=5) * 0.5,
    }
    latents = data @ weights["encoder"] + weights["shift"][None]
    variables = quantizer.init(latents[:1], KEY, codes=model.codebook_size, mean_count=256 / model.codebook_size)
    optimizer = optax.adam(0.02)

    def loss(
        trained: tuple[dict[str, jax.Array], object], moved: object, key: jax.Array
    ) -> tuple[jax.Array, Quantized]:
        weights, codebook = trained
        latents = data @ weights["encoder"] + weights["shift"][None]
        quantized = quantizer.quantize(Variables(codebook, moved), latents, key)
        rebuilt = quantized.values @ weights["decoder"]
        return jnp.square(rebuilt - data).mean() + quantized.loss, quantized

    @jax.jit
    def run(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        def step(carry: tuple[object, object, object], key: jax.Array) -> tuple[object, tuple[jax.Array, jax.Array]]:
            trained, moved, moments = carry
            (value, quantized), slopes = jax.value_and_grad(loss, has_aux=True)(trained, moved, key)
            with jax.numpy_dtype_promotion("standard"):
                updates, moments = optimizer.update(slopes, moments)
            used = jnp.zeros(model.codebook_size).at[quantized.codes].add(1.0)
            error = value - quantized.loss
            return (optax.apply_updates(trained, updates), quantized.state, moments), (error, perplexity(used))

        trained = (weights, variables.params)
        carry = (trained, variables.state, optimizer.init(trained))
        return jax.lax.scan(step, carry, jax.random.split(key, 300))[1]

    errors, evenness = map(np.asarray, run(jax.random.key(7)))
    assert evenness[-1] > 8
    assert evenness[-1] > 2 * evenness[0]
    assert errors[-1] < 0.55 * errors[0]  # fsq has only three dims for eight


def test_the_error_for_an_unknown_quantizer_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="one of ema, ibq, fsq, simvq, l2, got 'vq'"):
        Quantizers().get("vq")
