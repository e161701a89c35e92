"""Properties that every quantizer must have, and the specific ones of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from schemas.errors import ConfigError
from tests.support.vqgan.tiny_vqgan import DOT, TINY, tiny_params
from tokenizer.checkpoints import checkpoint
from tokenizer.checkpoints.checkpoint import Weights
from tokenizer.codec import FrameCodec
from tokenizer.config import CONFIGS, VqganConfig
from tokenizer.quantizers.base import (
    Quantized,
    Quantizer,
    Variables,
    mse_to_target,
    nearest_codes,
    perplexity,
    straight_through,
)
from tokenizer.quantizers.fsq import FsqConfig
from tokenizer.quantizers.ibq import IbqConfig
from tokenizer.quantizers.l2 import L2Config
from tokenizer.quantizers.lookup import find_codes
from tokenizer.quantizers.registry import Quantizers
from tokenizer.quantizers.simvq import SimvqConfig
from tokenizer.training.config import TokenizerTrainConfig
from tokenizer.training.crops import CropConfig
from tokenizer.training.step import abstract_state, make_train_step
from tokenizer.vqgan.vqgan import abstract, to_unit

pytestmark = pytest.mark.slow

OPTIONS = Quantizers(fsq=FsqConfig(levels=(4, 4, 2)), l2=L2Config(dim=4))


@dataclass(frozen=True, kw_only=True)
class FrozenConfig:
    """A quantizer of this test module alone: the nearest of random codes that never change."""

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


def test_a_quantizer_is_added_by_one_class_and_one_field(monkeypatch: pytest.MonkeyPatch) -> None:
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


KINDS = Quantizers.names()
KEY = jax.random.key(0)


def noise(*shape: int, seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def made(kind: str, *, count: int = 60, seed: int = 0) -> tuple[Quantizer, Variables, jax.Array]:
    """A quantizer, what it begins with, and latents of the size it asks for."""
    quantizer = OPTIONS.get(kind)
    model = quantizer.configure(TINY)
    latents = noise(count, model.latent_dim, seed=seed)
    return quantizer, quantizer.init(latents, KEY, codes=model.codebook_size, mean_count=2.0), latents


@pytest.mark.parametrize("kind", KINDS)
def test_training_finds_the_codes_that_the_exported_codebook_gives(kind: str) -> None:
    quantizer, variables, latents = made(kind, count=500, seed=5)
    model, codebook = quantizer.configure(TINY), quantizer.codebook(variables)
    quantized = jax.jit(quantizer.quantize)(variables, latents, KEY)
    assert codebook.shape == (model.codebook_size, model.latent_dim)
    np.testing.assert_array_equal(quantized.codes, find_codes(latents, codebook, lookup=model.lookup))
    np.testing.assert_allclose(quantized.values, codebook[quantized.codes], atol=1e-5)
    assert len(np.unique(quantized.codes)) > model.codebook_size // 4


@pytest.mark.parametrize("kind", ["ibq", "fsq", "l2"])  # one of each rule but the nearest
def test_a_file_encodes_to_the_codes_of_training(kind: str, tmp_path: Path) -> None:
    quantizer = OPTIONS.get(kind)
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


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_decoder_wants_reaches_the_latents(kind: str) -> None:
    quantizer, variables, latents = made(kind)
    wanted = noise(*latents.shape, seed=9)

    def through(latents: jax.Array) -> jax.Array:
        return (quantizer.quantize(variables, latents, KEY).values * wanted).sum()

    slope = np.asarray(jax.jit(jax.grad(through))(latents))
    assert np.isfinite(slope).all()
    assert (np.abs(slope).sum(-1) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_reaches_what_is_trained_and_nothing_else(kind: str) -> None:
    quantizer, variables, latents = made(kind)

    def loss(variables: Variables) -> jax.Array:
        return quantizer.quantize(variables, latents, KEY).loss

    slopes = jax.jit(jax.grad(loss))(variables)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(slopes.params))
    assert all(float(jnp.abs(leaf).max()) == 0 for leaf in jax.tree.leaves(slopes.state))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_key_gives_the_same_bytes(kind: str) -> None:
    (quantizer, variables, latents), (_, again, _) = made(kind), made(kind)
    jax.tree.map(np.testing.assert_array_equal, variables, again)
    run = jax.jit(quantizer.quantize)
    one, other = (run(v, latents, KEY) for v in (variables, again))
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_it_can_begin_at_a_codebook_that_it_exported(kind: str) -> None:
    quantizer, variables, _ = made(kind)
    codebook = quantizer.codebook(variables)
    again = quantizer.init_from_codebook(codebook, mean_count=2.0)
    np.testing.assert_allclose(quantizer.codebook(again), codebook, atol=1e-6)
    assert jax.tree.structure(again) == jax.tree.structure(variables)


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_steps_bring_more_codes_into_use_and_the_data_nearer(kind: str) -> None:
    """Sixteen clusters through a linear encoder and decoder that begin with nearly nothing to tell them apart."""
    quantizer = OPTIONS.get(kind)
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
    assert errors[-1] < 0.55 * errors[0]  # three dims of eight, for fsq


def test_an_unknown_quantizer_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="one of ema, ibq, fsq, simvq, l2, got 'vq'"):
        Quantizers().get("vq")


def test_ibq_moves_every_code_and_not_only_those_that_were_chosen() -> None:
    quantizer, variables, latents = made("ibq", count=3)
    few = quantizer.quantize(variables, latents, KEY).codes

    def through(codebook: jax.Array) -> jax.Array:
        return (quantizer.quantize(Variables(codebook, ()), latents, KEY).values ** 2).sum()

    slope = np.abs(np.asarray(jax.jit(jax.grad(through))(variables.params))).sum(-1)
    assert len(np.unique(few)) <= 3
    assert (slope > 0).all()


def test_ibq_decodes_exactly_what_it_exports() -> None:
    quantizer, variables, latents = made("ibq")
    quantized = quantizer.quantize(variables, latents, KEY)
    np.testing.assert_allclose(quantized.values, quantizer.codebook(variables)[quantized.codes], rtol=3e-7, atol=1e-7)


def test_fsq_rounds_each_dim_of_the_bounded_latent() -> None:
    quantizer, variables, latents = made("fsq", count=2000, seed=3)
    levels = (4, 4, 2)
    bounded = np.tanh(np.asarray(latents, np.float64))
    steps = [np.round((bounded[:, d] + 1) / 2 * (n - 1)).astype(int) for d, n in enumerate(levels)]
    codes = np.asarray(quantizer.quantize(variables, latents, KEY).codes)
    np.testing.assert_array_equal(codes, np.ravel_multi_index(tuple(steps), levels))


def test_fsq_has_the_product_of_its_levels_and_refuses_the_grid_of_others() -> None:
    model = FsqConfig(levels=(8, 5, 5, 5)).configure(TINY)
    assert (model.codebook_size, model.latent_dim, model.lookup) == (1000, 4, "bounded")
    with pytest.raises(ConfigError, match=r"\[32, 3\] is not the grid of the levels \(4, 2, 4\)"):
        FsqConfig(levels=(4, 2, 4)).init_from_codebook(FsqConfig(levels=(4, 4, 2)).grid(), mean_count=1.0)


def test_simvq_begins_with_the_mean_and_covariance_of_the_latents() -> None:
    latents = noise(4000, 3) @ noise(3, 3, seed=1) + jnp.asarray([[5.0, -2.0, 0.0]])
    quantizer = SimvqConfig()
    codebook = quantizer.codebook(quantizer.init(latents, KEY, codes=4000, mean_count=1.0))
    np.testing.assert_allclose(codebook.mean(0), latents.mean(0), atol=0.2)
    np.testing.assert_allclose(np.cov(np.asarray(codebook).T), np.cov(np.asarray(latents).T), rtol=0.15, atol=0.15)


def test_simvq_carries_along_codes_that_nobody_chose() -> None:
    quantizer, variables, _ = made("simvq")
    latents = noise(1, 8, seed=4)
    chosen = int(quantizer.quantize(variables, latents, KEY).codes[0])
    slope = jax.jit(jax.grad(lambda v: quantizer.quantize(v, latents, KEY).loss))(variables)
    moved = jax.tree.map(lambda a, g: a - 0.1 * g, variables, slope)
    change = np.abs(np.asarray(quantizer.codebook(moved) - quantizer.codebook(variables))).sum(-1)
    assert (np.delete(change, chosen) > 0).all()


def test_l2_sees_directions_and_no_lengths() -> None:
    quantizer, variables, latents = made("l2")
    one, other = (quantizer.quantize(variables, latents * scale, KEY) for scale in (1.0, 37.0))
    np.testing.assert_array_equal(one.codes, other.codes)
    np.testing.assert_allclose(jnp.linalg.norm(quantizer.codebook(variables), axis=-1), 1.0, rtol=1e-5)


def test_the_entropy_loss_is_least_where_choices_are_sure_and_even() -> None:
    quantizer = partial(IbqConfig, commitment=0.0, codes=0.0, entropy=1.0, temperature=1.0)()
    axes = jnp.eye(4) * 50.0

    def of(latents: jax.Array) -> float:
        return float(quantizer.quantize(Variables(axes, ()), latents, KEY).loss)

    assert of(jnp.eye(4)) == pytest.approx(-np.log(4), abs=1e-3)
    assert of(jnp.eye(4)[:1].repeat(4, 0)) == pytest.approx(0.0, abs=1e-3)  # sure, but always the same
    assert of(jnp.zeros((4, 4))) == pytest.approx(0.0, abs=1e-3)  # even, but unsure


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IbqConfig(entropy=-1.0), "entropy must not be negative, got -1"),
        (lambda: IbqConfig(temperature=0.0), "temperature must be above 0, got 0"),
        (lambda: SimvqConfig(commitment=-0.5), "commitment must not be negative"),
        (lambda: L2Config(dim=0), "dim must be at least 1, got 0"),
        (lambda: FsqConfig(levels=(8, 1)), r"at least 2, got \(8, 1\)"),
    ],
)
def test_options_that_cannot_be_right_are_refused(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()  # type: ignore[operator]
