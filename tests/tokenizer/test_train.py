from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.errors import ConfigError, InputError
from tests.tokenizer.tiny import TINY, tiny_weights
from tokenizer import checkpoint, losses
from tokenizer.codec import FrameCodec
from tokenizer.config import CONFIGS
from tokenizer.crops import CropConfig, crops
from tokenizer.losses import LossConfig
from tokenizer.quantize_ema import EmaConfig
from tokenizer.quantizers import Quantizers
from tokenizer.step import TrainState, compiled_train_step, make_train_step, warm_state
from tokenizer.train import TokenizerTrainConfig, train_tokenizer


@pytest.fixture(autouse=True, scope="module")
def _tiny_has_a_name() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CONFIGS, "tiny", lambda: TINY)
        yield


def config(**changed: object) -> TokenizerTrainConfig:
    defaults = {"config": "tiny", "steps": 60, "batch": 8, "crop": CropConfig(size=16), "warmup_steps": 5}
    return TokenizerTrainConfig(**{**defaults, "save_every": 20, "learning_rate": 3e-3, **changed})  # type: ignore[arg-type]


def clips() -> list[NDArray[np.uint8]]:
    """Twelve frames of smooth coloured waves, in two clips of different sizes."""
    made = []
    for seed, width in ((1, 24), (2, 40)):
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:20, :width]
        wave = [np.sin(x * rng.uniform(0.1, 0.4) + y * rng.uniform(0.1, 0.4) + t) for t in range(18)]
        made.append((127 + 120 * np.stack(wave).reshape(6, 3, 20, width).transpose(0, 2, 3, 1)).astype(np.uint8))
    return made


def batches(run: TokenizerTrainConfig) -> Iterator[NDArray[np.uint8]]:
    return crops(clips(), batch=run.batch, config=run.crop, seed=run.seed)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, _tiny_has_a_name: None) -> Path:
    return train_tokenizer(config(), clips(), out=tmp_path_factory.mktemp("run") / "tiny.safetensors")


def log(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines()]


def test_training_brings_the_pictures_nearer(trained: Path) -> None:
    lines = log(trained)
    assert lines[-1]["psnr"] > lines[0]["psnr"] + 3
    assert lines[-1]["l1"] < 0.7 * lines[0]["l1"]


def test_the_log_tells_code_use_and_perplexity_as_it_goes(trained: Path) -> None:
    lines = log(trained)
    assert [line["step"] for line in lines] == list(range(2, 61, 2))
    for line in lines:
        assert 1 / 32 <= line["code_use"] <= 1
        assert 1 <= line["perplexity"] <= 32 * line["code_use"] * 1.001
        assert line["frames_per_s"] > 0


def test_what_was_trained_encodes_and_decodes(trained: Path) -> None:
    codec = FrameCodec.load(str(trained))
    frames = clips()[0][:, :16, :16]
    assert codec.decode(codec.encode(frames)).shape == frames.shape


def test_the_same_seed_and_frames_give_the_same_file(trained: Path, tmp_path: Path) -> None:
    again = train_tokenizer(config(), clips(), out=tmp_path / "again.safetensors")
    assert again.read_bytes() == trained.read_bytes()


def test_a_step_is_a_pure_function() -> None:
    step, batch = compiled_train_step(config()), jnp.asarray(next(batches(config())))
    state, _ = step(warm_state(config(), tiny_weights()), batch)  # the learning rate of the very first step is 0
    (one, _), (other, _) = (step(jax.tree.map(jnp.copy, state), batch) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, plain(one), plain(other))
    assert int(one.step) == 2
    assert moved(state, one, "encoder") > 0
    # The average's decay begins low, (1 + step) / (10 + step), so that it forgets where it began.
    old, bias, mean = (p.params["quant_conv"]["bias"][...] for p in (state.averaged, one.generator, one.averaged))
    np.testing.assert_allclose(mean, 2 / 11 * old + 9 / 11 * bias, rtol=1e-5)


def plain(state: TrainState) -> TrainState:
    return state._replace(key=jax.random.key_data(state.key))


def moved(state: TrainState, new: TrainState, part: str) -> float:
    """The largest change of a parameter of one part of the model."""
    change = jax.tree.map(
        lambda a, b: float(jnp.abs(a - b).max()), state.generator.params[part], new.generator.params[part]
    )
    return max(jax.tree.leaves(change))


@lru_cache
def one_step(term: str) -> tuple[TrainState, TrainState]:
    """The states before and after a step whose loss is one term alone."""
    weights = {"l1": 0.0, "coarse": 0.0, "edges": 0.0, "commitment": 0.0, term: 1.0}
    options = Quantizers(ema=EmaConfig(commitment=weights.pop("commitment")))
    run = config(loss=LossConfig(**weights), options=options, warmup_steps=0)
    state = warm_state(run, tiny_weights())
    step = jax.jit(make_train_step(run), compiler_options={"xla_backend_optimization_level": 0})  # compiles faster
    return state, step(state, jnp.asarray(next(batches(run))))[0]


def test_the_reconstruction_reaches_the_encoder_straight_through_the_codes() -> None:
    state, new = one_step("l1")
    assert moved(state, new, "encoder") > 0
    assert moved(state, new, "decoder") > 0


def test_the_commitment_moves_the_encoder_and_nothing_behind_the_codes() -> None:
    state, new = one_step("commitment")
    assert moved(state, new, "encoder") > 0
    assert moved(state, new, "quant_conv") > 0
    assert moved(state, new, "decoder") == 0
    assert moved(state, new, "post_quant_conv") == 0


def test_the_codebook_follows_the_latents_whatever_the_loss_is() -> None:
    (state, new), (_, other) = one_step("l1"), one_step("commitment")
    assert float(jnp.abs(state.moved.codebook - new.moved.codebook).max()) > 0
    np.testing.assert_allclose(new.moved.codebook, other.moved.codebook, rtol=1e-6, atol=1e-6)


def test_a_warm_start_begins_at_the_checkpoint(trained: Path, tmp_path: Path) -> None:
    saved = tmp_path / "tiny.safetensors"
    checkpoint.save(saved, tiny_weights())
    state = warm_state(config(), checkpoint.load(saved))
    jax.tree.map(np.testing.assert_array_equal, state.generator.params, tiny_weights().params)
    np.testing.assert_array_equal(state.moved.codebook, tiny_weights().codebook)
    further = train_tokenizer(config(), clips(), out=tmp_path / "further.safetensors", initial=trained)
    assert log(further)[0]["psnr"] > log(trained)[0]["psnr"] + 3


def test_a_warm_start_from_another_shape_is_refused(tmp_path: Path) -> None:
    saved = tmp_path / "tiny.safetensors"
    checkpoint.save(saved, tiny_weights())
    with pytest.raises(ConfigError, match="does not fit 'small-128'"):
        train_tokenizer(
            config(config="small-128", crop=CropConfig(size=32)),
            [np.zeros((1, 32, 32, 3), np.uint8)],
            out=tmp_path / "o",
            initial=saved,
        )


def test_losses_are_zero_for_equal_pictures_and_see_what_they_are_for() -> None:
    x = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (1, 16, 16, 3)), jnp.float32)
    checkerboard = jnp.asarray(np.indices((16, 16)).sum(0) % 2 * 0.2 - 0.1, jnp.float32)[None, :, :, None]
    checkerboard = jnp.broadcast_to(checkerboard, x.shape)
    assert [float(f(x, x)) for f in (losses.l1, losses.coarse, losses.edges)] == [0.0, 0.0, 0.0]
    np.testing.assert_allclose([float(losses.l1(x + 0.1, x)), float(losses.coarse(x + 0.1, x))], 0.1, rtol=1e-4)
    assert float(losses.edges(x + 0.1, x)) == pytest.approx(0.0, abs=1e-5)  # a shift has no edge
    assert float(losses.coarse(x + checkerboard, x)) == pytest.approx(0.0, abs=1e-6)  # fine texture has no mean
    assert float(losses.edges(x + checkerboard, x)) == pytest.approx(0.4, rel=1e-3)  # 0.2 across, 0.2 down


def numbered(count: int, first: int = 0) -> NDArray[np.uint8]:
    """Frames of 4 x 6 whose every pixel is the frame's number."""
    return np.broadcast_to(np.arange(first, first + count, dtype=np.uint8)[:, None, None, None], (count, 4, 6, 3))


def plain_crops(buffer_frames: int) -> CropConfig:
    return CropConfig(size=4, recolour=0.0, buffer_frames=buffer_frames)


def numbers(batches: Iterator[NDArray[np.uint8]], count: int) -> list[list[int]]:
    return [batch[:, 0, 0, 0].tolist() for batch in islice(batches, count)]


def test_crops_are_pieces_of_the_frames_some_of_them_mirrored() -> None:
    frame = np.random.default_rng(0).integers(0, 255, (1, 5, 7, 3), dtype=np.uint8)
    windows = {frame[0, i : i + 4, j : j + 4].tobytes() for i in range(2) for j in range(4)}
    mirrored = {frame[0, i : i + 4, j : j + 4][:, ::-1].tobytes() for i in range(2) for j in range(4)}
    seen = {crop.tobytes() for crop in next(crops([frame], batch=300, config=plain_crops(9), seed=0))}
    assert seen == windows | mirrored


def test_recoloured_crops_have_their_channels_exchanged() -> None:
    frame = np.broadcast_to(np.array([10, 20, 30], np.uint8), (1, 4, 4, 3))
    batch = next(crops([frame], batch=600, config=CropConfig(size=4, recolour=0.5), seed=0))
    colours, counts = np.unique(batch[:, 0, 0], axis=0, return_counts=True)
    assert len(colours) == 6
    assert counts.max() == counts[colours[:, 0].tolist().index(10)]  # as it was
    assert 300 < counts.max() < 400  # half of them, and a sixth of the other half


def test_a_source_that_fits_into_the_buffer_is_read_once_and_shuffled() -> None:
    reads = 0

    def source() -> Iterator[NDArray[np.uint8]]:
        nonlocal reads
        for first in (0, 10):
            reads += 1
            yield numbered(10, first)

    drawn = numbers(crops(source(), batch=8, config=plain_crops(100), seed=0), 30)
    assert reads == 2
    assert {n for batch in drawn for n in batch} == set(range(20))
    assert sum(min(batch) < 10 <= max(batch) for batch in drawn) > 25  # both clips in nearly every batch


def test_a_longer_source_flows_through_the_buffer_and_begins_again() -> None:
    drawn = numbers(crops([numbered(200)], batch=4, config=plain_crops(10), seed=0), 200)
    assert all(number < 10 + 4 * (i + 1) for i, batch in enumerate(drawn[:20]) for number in batch)
    assert len({n for batch in drawn for n in batch}) > 150
    assert min(n for batch in drawn[50:70] for n in batch) < 50  # the second time round


def test_a_generator_that_ends_leaves_its_last_frames_in_the_buffer() -> None:
    drawn = numbers(crops((numbered(5, i * 5) for i in range(8)), batch=4, config=plain_crops(10), seed=0), 60)
    late = {n for batch in drawn[40:] for n in batch}
    assert len(late) <= 10
    assert max(late) > 30


def test_the_same_seed_gives_the_same_batches_and_another_seed_others() -> None:
    first, same, other = (numbers(crops([numbered(50)], batch=4, config=plain_crops(20), seed=s), 9) for s in (0, 0, 1))
    assert first == same
    assert first != other


def test_no_frame_and_frames_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="no frame to train on"):
        next(crops([], batch=1, config=plain_crops(4), seed=0))
    with pytest.raises(ConfigError, match="crop is 8 pixels, but a frame is 4x6"):
        next(crops([numbered(1)], batch=1, config=CropConfig(size=8), seed=0))
    with pytest.raises(ConfigError, match=r"frames must be uint8 \[n, H, W, 3\], got float64"):
        next(crops([np.zeros((1, 4, 4, 3))], batch=1, config=plain_crops(4), seed=0))  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop": CropConfig(size=20)}, "crop size must be a multiple of 8, got 20"),
        ({"config": "small-128", "crop": CropConfig(size=40)}, "multiple of 16"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"warmup_steps": 61}, "warmup_steps must be at least 0 and below steps=60, got 61"),
        ({"averaging": 1.0}, r"averaging must be in \[0, 1\), got 1.0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"compute": "float64"}, "compute must be float32 or bfloat16, got 'float64'"),
        ({"config": "huge"}, "got 'huge'"),
    ],
)
def test_a_run_that_cannot_be_right_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**change)


def test_a_crop_config_that_cannot_be_right_is_refused() -> None:
    with pytest.raises(ConfigError, match="recolour must be a share from 0 to 1, got 1.5"):
        CropConfig(recolour=1.5)
    with pytest.raises(ConfigError, match="buffer_frames must be at least 1, got 0"):
        CropConfig(buffer_frames=0)


def test_a_loss_weight_below_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="edges must not be negative, got -1"):
        LossConfig(edges=-1.0)
