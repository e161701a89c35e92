from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from schemas.errors import ConfigError, InputError, Interrupted, JobError, StorageError
from tests.support.tiny_vqgan import DOT, TINY, tiny_weights
from tokenizer.checkpoints import checkpoint
from tokenizer.codec import FrameCodec
from tokenizer.config import CONFIGS
from tokenizer.quantizers.ema import EmaConfig
from tokenizer.quantizers.fsq import FsqConfig
from tokenizer.quantizers.registry import Quantizers
from tokenizer.training import discriminator
from tokenizer.training.config import TokenizerTrainConfig
from tokenizer.training.crops import CropConfig, crops, fingerprint
from tokenizer.training.discriminator import DiscriminatorConfig, LogitAverages
from tokenizer.training.generator import (
    GeneratorGradients,
    adaptive_weight,
    generator_gradients,
    reconstruct,
    reconstruction_loss,
)
from tokenizer.training.losses import LossConfig
from tokenizer.training.snapshots import Snapshots, describe
from tokenizer.training.step import (
    TrainState,
    compiled_train_step,
    make_mesh,
    make_optimizers,
    replicated,
    state_from_weights,
)
from tokenizer.training.train import WEIGHTS, train_tokenizer
from tokenizer.vqgan.vqgan import to_unit


@pytest.fixture(autouse=True, scope="module")
def _tiny_has_a_name_and_compiles_fast() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CONFIGS, "tiny", lambda: TINY)
        patch.setitem(CONFIGS, "dot", lambda: DOT)
        jax.config.update("jax_disable_most_optimizations", True)
        yield
        jax.config.update("jax_disable_most_optimizations", False)


CRITIC = DiscriminatorConfig(start=16, filters=8, layers=1)


def config(**changed: object) -> TokenizerTrainConfig:
    """Sixteen steps without a discriminator, then eight with one."""
    defaults = {
        "architecture": "dot",
        "steps": 24,
        "batch": 8,
        "crop": CropConfig(size=8),
        "warmup_steps": 2,
        "devices": 1,
    }
    defaults |= {"save_every": 10, "learning_rate": 1e-2, "discriminator": CRITIC}
    return TokenizerTrainConfig(**{**defaults, **changed})  # type: ignore[arg-type]


def frames() -> NDArray[np.uint8]:
    """Twelve frames of smooth colored waves."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:20, :24]
    wave = [np.sin(x * rng.uniform(0.1, 0.4) + y * rng.uniform(0.1, 0.4) + t) for t in range(36)]
    return (127 + 120 * np.stack(wave).reshape(12, 3, 20, 24).transpose(0, 2, 3, 1)).astype(np.uint8)


def after(polls: int) -> Callable[[], bool]:
    """Ask to stop once that many steps are made."""
    left = iter([False] * polls)
    return lambda: next(left, True)


def log(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def state_at(out: Path, step: int, run: TokenizerTrainConfig) -> TrainState:
    with Snapshots(out) as snapshots:
        state = snapshots.restore(step, run, describe(run, frames=fingerprint(frames())), make_mesh(1))
    return state._replace(key=jax.random.key_data(state.key))


def same(a: object, b: object) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, _tiny_has_a_name_and_compiles_fast: None) -> Path:
    """A run that was not stopped."""
    out = tmp_path_factory.mktemp("whole")
    assert train_tokenizer(config(), frames(), out=out) == out / WEIGHTS
    return out


def test_training_brings_the_pictures_nearer(whole: Path) -> None:
    lines = log(whole)
    assert lines[-1]["psnr"] > lines[0]["psnr"] + 3
    assert lines[-1]["l1"] < 0.7 * lines[0]["l1"]


def test_the_log_tells_code_use_and_perplexity_and_the_discriminator_once_it_is_there(whole: Path) -> None:
    lines = log(whole)
    assert [line["step"] for line in lines] == list(range(1, 25))
    assert ["hinge" in line for line in lines] == [False] * 16 + [True] * 8
    for line in lines:
        assert 1 / 16 <= line["codebook_utilization"] <= 1
        assert 1 <= line["perplexity"] <= 16 * line["codebook_utilization"] * 1.001
        assert line["frames_per_s"] > 0


def test_every_save_leaves_a_picture_and_tensorboard_has_it_too(whole: Path) -> None:
    pictures = sorted((whole / "pictures").iterdir())
    assert [p.name for p in pictures] == ["000010.png", "000020.png", "000024.png"]
    original, rebuilt = np.split(np.asarray(Image.open(pictures[-1]), np.float64), 2)
    expected = crops(frames(), batch=8, config=CropConfig(size=8), seed=0, step=0)
    np.testing.assert_array_equal(original, np.concatenate(list(expected), axis=1))
    assert np.abs(original - rebuilt).mean() < 60
    (events,) = (whole / "tensorboard").iterdir()
    tags = {value.tag for event in read_events(events) for value in event.summary.value}
    assert {"reconstruction", "train/psnr", "train/codebook_utilization", "train/hinge"} <= tags


def read_events(path: Path) -> Iterator[Event]:
    data = path.read_bytes()
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 8], "little")
        yield Event.FromString(data[at + 12 : at + 12 + size])
        at += size + 16


def test_what_was_trained_encodes_and_decodes(whole: Path) -> None:
    codec = FrameCodec.load(str(whole / WEIGHTS))
    piece = frames()[:, :16, :16]
    assert codec.decode(codec.encode(piece), grid=(16, 16)).shape == piece.shape


@pytest.mark.parametrize("stop", [5, 18], ids=["before the first save", "with the discriminator on"])
def test_a_run_that_was_stopped_and_gone_on_with_equals_one_that_was_not(
    stop: int, whole: Path, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted, match=f"stopped after step {stop} of 24; saved in"):
        train_tokenizer(config(), frames(), out=tmp_path, is_stopping=after(stop))
    assert len(log(tmp_path)) == stop
    train_tokenizer(config(), frames(), out=tmp_path)
    assert (tmp_path / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    same(state_at(tmp_path, 24, config()), state_at(whole, 24, config()))
    for ours, theirs in zip(log(tmp_path), log(whole), strict=True):
        assert ours | {"frames_per_s": 0} == theirs | {"frames_per_s": 0}
    assert {p.name for p in tmp_path.glob("config-from-*")} == {"config-from-0.json", f"config-from-{stop}.json"}


def test_a_killed_run_goes_on_from_its_newest_snapshot_and_writes_the_lines_behind_it_again(
    whole: Path, tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "snapshots" / "24")
    train_tokenizer(config(), frames(), out=tmp_path / "run")
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert [line["step"] for line in log(tmp_path / "run")] == list(range(1, 25))


def test_each_of_the_two_steps_is_compiled_once(whole: Path) -> None:
    for adversarial in (False, True):
        step: Any = compiled_train_step(config(), adversarial=adversarial, mesh=make_mesh(1))
        assert step._cache_size() == 1


def test_a_finished_run_has_nothing_left_to_do(whole: Path) -> None:
    before = (whole / WEIGHTS).stat().st_mtime_ns
    train_tokenizer(config(), frames(), out=whole)
    assert (whole / WEIGHTS).stat().st_mtime_ns == before


def test_a_run_does_not_go_on_with_other_options_or_other_frames(whole: Path) -> None:
    with pytest.raises(ConfigError, match=r"learning_rate: the snapshot has 0.01, this run has 0.02"):
        train_tokenizer(config(learning_rate=2e-2), frames(), out=whole)
    with pytest.raises(ConfigError, match="  frames: the snapshot has"):
        train_tokenizer(config(), frames()[::-1], out=whole)


def placed(images: NDArray[np.uint8], mesh: Mesh) -> jax.Array:
    return jax.device_put(images, NamedSharding(mesh, PartitionSpec("data")))


def begun(run: TokenizerTrainConfig, seed: int = 0) -> TrainState:
    """A state that a step may consume."""
    state = jax.device_put(_warm(run), replicated(make_mesh(1)), may_alias=False)
    critic = state.discriminator
    assert critic is not None
    return state._replace(discriminator=critic._replace(params=discriminator.init_params(run.discriminator, seed)))


@lru_cache
def _warm(run: TokenizerTrainConfig) -> TrainState:
    return state_from_weights(run, tiny_weights(DOT))


def batch(run: TokenizerTrainConfig) -> NDArray[np.uint8]:
    return crops(frames(), batch=run.batch, config=run.crop, seed=0, step=0)


def test_before_its_start_the_discriminator_has_no_influence_and_does_not_learn(whole: Path) -> None:
    step = compiled_train_step(config(), adversarial=False, mesh=make_mesh(1))
    states = [begun(config(), seed) for seed in (0, 5)]
    critics = [jax.device_get(state.discriminator) for state in states]
    (one, _), (other, _) = (step(state, placed(batch(config()), make_mesh(1)), None) for state in states)
    same(one.generator, other.generator)
    same(one.discriminator, critics[0])
    same(other.discriminator, critics[1])


def test_a_step_is_a_pure_function_and_the_average_forgets_where_it_began(whole: Path) -> None:
    step = compiled_train_step(config(), adversarial=False, mesh=make_mesh(1))
    images = placed(batch(config()), make_mesh(1))
    state, _ = step(begun(config()), images, None)  # the learning rate of the very first step is 0
    old = jax.device_get(state.averaged.params)
    (one, _), (other, _) = (
        step(jax.device_put(state, replicated(make_mesh(1)), may_alias=False), images, None) for _ in range(2)
    )
    same(one._replace(key=jax.random.key_data(one.key)), other._replace(key=jax.random.key_data(other.key)))
    assert int(one.step) == 2
    now, mean = (p["quant_conv"]["bias"][...] for p in (one.generator.params, one.averaged.params))
    np.testing.assert_allclose(mean, 2 / 11 * old["quant_conv"]["bias"][...] + 9 / 11 * now, rtol=1e-5)


@lru_cache
def slopes_of(*terms: str, compute: str = "float32") -> GeneratorGradients:
    """The gradient of some terms alone."""
    weights = {name: float(name in terms) for name in ("l1", "coarse", "edges")}
    options = Quantizers(ema=EmaConfig(commitment=float("commitment" in terms)))
    run = config(loss=LossConfig(**weights), options=options, compute=compute)
    state = begun(run)
    return jax.jit(lambda s, pixels: generator_gradients(run, s.generator, s.quantizer_state, pixels, s.key))(
        state, pixels_of(run)
    )


def pixels_of(run: TokenizerTrainConfig) -> jax.Array:
    return to_unit(jnp.asarray(batch(run)))


def size(tree: Any) -> float:
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


def test_the_reconstruction_reaches_the_encoder_straight_through_the_codes() -> None:
    grads = slopes_of("l1").gradients.params
    assert size(grads["encoder"]) > 0
    assert size(grads["decoder"]) > 0


def test_bfloat16_rebuilds_nearly_the_same_and_its_gradients_are_float32() -> None:
    rough, exact = slopes_of("l1", compute="bfloat16"), slopes_of("l1")
    error = np.abs(np.asarray(rough.reconstructed - exact.reconstructed))
    assert 0 < np.median(error) < 0.05  # single codes may be others
    assert {leaf.dtype for leaf in jax.tree.leaves(rough.gradients)} == {jnp.dtype("float32")}


def test_the_commitment_moves_the_encoder_and_nothing_behind_the_codes() -> None:
    grads = slopes_of("commitment").gradients.params
    assert size(grads["encoder"]) > 0
    assert size(grads["quant_conv"]) > 0
    assert size(grads["decoder"]) == 0
    assert size(grads["post_quant_conv"]) == 0


def test_the_codebook_follows_the_latents_whatever_the_loss_is() -> None:
    one, other = slopes_of("l1").quantized.state.codebook, slopes_of("commitment").quantized.state.codebook
    assert size(one - tiny_weights(DOT).codebook) > 0
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_an_adversarial_step_is_what_its_equations_say_and_neither_side_moves_the_other() -> None:
    """Against plain gradients of the sums of losses, with the adaptive weight a constant, taken by jax.grad."""
    run = config()
    graphdef, _ = discriminator.abstract(run.discriminator)
    state, pixels = begun(run), pixels_of(run)
    critic = state.discriminator
    assert critic is not None
    key = jax.random.split(state.key)[1]

    def total(generator: Any, weight: jax.Array) -> jax.Array:
        rebuilt, quantized = reconstruct(run, generator, state.quantizer_state, pixels, key)
        loss, _ = reconstruction_loss(rebuilt, pixels, None, run.loss, "float32")
        fake = nnx.merge(graphdef, critic.params)(rebuilt)
        return loss + quantized.loss - run.discriminator.weight * weight * fake.mean()

    @jax.jit
    def both() -> tuple[GeneratorGradients, Any, Any, Any]:
        found = generator_gradients(
            run, state.generator, state.quantizer_state, pixels, key, discriminator=critic.params
        )
        plain = jax.grad(total)(state.generator, found.metrics["adaptive_weight"])
        learn = jax.grad(discriminator.discriminator_loss, argnums=(0, 2, 3, 4), has_aux=True)
        reached, _ = learn(critic.params, graphdef, pixels, found.reconstructed, critic.averages, run.discriminator)
        with jax.numpy_dtype_promotion("standard"):
            moments = make_optimizers(run)[1].update(reached[0], critic.optimizer, critic.params)[1]
        return found, plain, reached, moments

    found, plain, reached, moments = both()
    assert float(found.metrics["adaptive_weight"]) > 0
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), found.gradients, plain)
    assert size(reached[0]) > 0  # the discriminator's own parameters
    assert size(reached[1:]) == 0  # the pictures, through them the generator, and LeCAM's averages
    step = compiled_train_step(run, adversarial=True, mesh=make_mesh(1))
    after_step, metrics = step(begun(run), placed(batch(run), make_mesh(1)), None)
    assert after_step.discriminator is not None
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), after_step.discriminator.optimizer, moments
    )
    np.testing.assert_allclose(after_step.discriminator.averages.real, 0.001 * metrics["real_logit"], rtol=1e-4)


def test_the_adaptive_weight_is_a_clamped_ratio_without_a_gradient() -> None:
    a, b = jnp.asarray([3.0, 4.0]), jnp.asarray([0.0, 0.5])
    assert float(adaptive_weight(a, b, 1e4)) == pytest.approx(10, rel=1e-3)
    assert float(adaptive_weight(a, b * 0, 1e4)) == 1e4
    assert size(jax.grad(adaptive_weight, (0, 1))(a, b, 1e4)) == 0


def test_hinge_is_zero_for_sure_answers_and_lecam_for_answers_like_the_others() -> None:
    sure, unsure = jnp.full((4,), 2.0), jnp.zeros((4,))
    assert float(discriminator.hinge(sure, -sure)) == 0
    assert float(discriminator.hinge(unsure, unsure)) == 1
    averages = LogitAverages(jnp.float32(0.5), jnp.float32(-0.5))
    assert float(discriminator.lecam(unsure - 0.5, unsure + 0.5, averages)) == 0
    assert float(discriminator.lecam(unsure, unsure - 0.5, averages)) == pytest.approx(0.25 + 1.0)


def test_four_devices_train_as_one_does(whole: Path) -> None:
    run, ended = config(), []
    for devices in (1, 4):
        mesh = make_mesh(devices)
        step = compiled_train_step(run, adversarial=True, mesh=mesh)
        state = jax.device_put(begun(run), replicated(mesh))
        for _ in range(3):
            state, metrics = step(state, placed(batch(run), mesh), None)
        ended.append(jax.device_get((metrics, state.quantizer_state, state.averaged)))
        assert len(jax.tree.leaves(state.generator)[0].sharding.device_set) == devices
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), *ended)


def test_a_warm_start_begins_at_the_checkpoint(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "dot.safetensors", tiny_weights(DOT))
    state = state_from_weights(config(), checkpoint.load(tmp_path / "dot.safetensors"))
    same(state.generator.params, tiny_weights(DOT).params)
    np.testing.assert_array_equal(state.quantizer_state.codebook, tiny_weights(DOT).codebook)


def test_a_warm_start_from_another_shape_or_codebook_is_refused_before_any_work(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "dot.safetensors", tiny_weights(DOT))
    out, initial = tmp_path / "out", tmp_path / "dot.safetensors"
    with pytest.raises(ConfigError, match="does not fit 'tiny'"):
        train_tokenizer(config(architecture="tiny"), frames(), out=out, initial=initial)
    more = config(quantizer="fsq", options=Quantizers(fsq=FsqConfig(levels=(4, 4, 4, 2))))
    with pytest.raises(ConfigError, match=r"quantize.embedding.weight should be \[128, 4\] and is \[16, 4\]"):
        train_tokenizer(more, frames(), out=out, initial=initial)
    assert not out.exists()


def test_a_run_that_diverges_stops_and_names_the_step_and_keeps_no_broken_snapshot(tmp_path: Path) -> None:
    run = config(learning_rate=1e38, save_every=1, discriminator=DiscriminatorConfig(weight=0))
    with pytest.raises(JobError, match=r"diverged at step \d: .*newest snapshot, of step \d, is kept") as raised:
        train_tokenizer(run, frames(), out=tmp_path)
    with Snapshots(tmp_path) as snapshots:
        latest = snapshots.latest()
    assert latest is not None
    assert f"of step {latest}," in str(raised.value)
    assert np.isfinite(size(state_at(tmp_path, latest, run).generator))


def test_a_full_disk_is_noticed_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000)  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(StorageError, match="needs .* MB for snapshots, but the disk has 0 MB free"):
        train_tokenizer(config(), frames(), out=tmp_path / "deep" / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "tiny", "crop": CropConfig(size=20)}, "crop.size must be a multiple of 8, got 20"),
        ({"architecture": "small-128", "crop": CropConfig(size=40)}, "multiple of 16"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"warmup_steps": 24}, "warmup_steps must be at least 0 and below steps=24, got 24"),
        ({"averaging": 1.0}, r"averaging must be in \[0, 1\), got 1.0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"compute": "float64"}, "compute must be float32 or bfloat16, got 'float64'"),
        ({"architecture": "huge"}, "got 'huge'"),
        ({"quantizer": "vq"}, "quantizer must be one of ema, ibq, fsq, simvq, l2, got 'vq'"),
        ({"devices": 3}, "devices must be at least 1 and divide batch=8, got 3"),
        ({"discriminator": DiscriminatorConfig(start=0)}, "crop.size must be at least 24 for the discriminator"),
        ({"perceptual": Path("vgg")}, "crop.size must be at least 16 for the five blocks of VGG, got 8"),
    ],
)
def test_a_run_that_cannot_be_right_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"filters": 12}, "filters must be a multiple of 8, got 12"),
        ({"layers": 0}, "layers must be at least 1, got 0"),
        ({"lecam_decay": 1.0}, r"lecam_decay must be in \[0, 1\), got 1.0"),
        ({"weight": -1.0}, "weight must not be negative, got -1.0"),
    ],
)
def test_a_discriminator_that_cannot_be_right_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DiscriminatorConfig(**change)


def test_frames_and_devices_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no frame to train on"):
        train_tokenizer(config(), frames()[:0], out=tmp_path / "out")
    with pytest.raises(ConfigError, match="crop.size is 8 pixels, but a frame has 4x24"):
        train_tokenizer(config(), frames()[:, :4], out=tmp_path / "out")
    with pytest.raises(ConfigError, match="devices is 16, but JAX finds 8"):
        train_tokenizer(config(devices=16, batch=16), frames(), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
