from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import tokenizer
from schemas.errors import ConfigError, InputError, Reason, VocabularyMismatch
from schemas.fingerprint import sha256_file
from tests.support.vqgan.tiny_vqgan import TINY, moving_disc, tiny_weights
from tokenizer import codec as codecs
from tokenizer.checkpoints import checkpoint
from tokenizer.checkpoints.checkpoint import Weights
from tokenizer.codec import BATCH, FrameCodec
from tokenizer.config import VqganConfig, lwm_256, small_128
from tokenizer.evaluation.evaluate import psnr
from tokenizer.vqgan.vqgan import abstract

pytestmark = pytest.mark.slow

SHIPPED = Path(tokenizer.__file__).parent / "weights" / "small-128.safetensors"


@pytest.fixture(scope="module")
def codec() -> FrameCodec:
    return FrameCodec.load("small-128")


@pytest.fixture(scope="module")
def tiny() -> FrameCodec:
    return FrameCodec(tiny_weights())


FRAMES = moving_disc(BATCH + 5)
QUARTERS = moving_disc(BATCH + 5, height=64, width=64)  # for tests whose subject is the number of frames


@pytest.fixture(scope="module")
def codes(codec: FrameCodec) -> NDArray[np.uint16] | NDArray[np.uint32]:
    return codec.encode(FRAMES)


def test_the_shipped_tokenizer_is_small_and_has_the_hash_of_its_file(codec: FrameCodec) -> None:
    assert SHIPPED.stat().st_size <= 16_000_000
    assert codec.sha256 == sha256_file(SHIPPED)
    assert (codec.codebook_size, codec.frame_size, codec.grid) == (1024, 128, (8, 8))
    assert SHIPPED.with_suffix(".md").is_file()


def test_codes_have_the_smallest_sufficient_dtype(codes: NDArray[np.uint16]) -> None:
    assert (codes.shape, codes.dtype) == ((len(FRAMES), 64), np.uint16)
    assert len(np.unique(codes, axis=0)) == len(FRAMES)


def test_the_shipped_tokenizer_reconstructs_frames(codec: FrameCodec, codes: NDArray[np.uint16]) -> None:
    rebuilt = codec.decode(codes)
    assert (rebuilt.shape, rebuilt.dtype) == (FRAMES.shape, np.uint8)
    mean_picture = np.broadcast_to(FRAMES.mean((1, 2), keepdims=True), FRAMES.shape).round().astype(np.uint8)
    assert psnr(FRAMES, rebuilt).mean() > psnr(FRAMES, mean_picture).mean() + 4
    # A reconstruction is closer to its own frame than to the frame after the next one.
    assert (psnr(FRAMES[:-2], rebuilt[:-2]) > psnr(FRAMES[2:], rebuilt[:-2])).mean() > 0.9


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_the_codes_of_a_frame_do_not_depend_on_other_frames(data: st.DataObject) -> None:
    codec, frames = _shared()
    expected = codec.encode(frames)
    order = data.draw(st.permutations(range(len(frames))))
    chosen = order[: data.draw(st.integers(1, len(frames)))]
    np.testing.assert_array_equal(codec.encode(frames[chosen]), expected[chosen])


def test_codes_do_not_depend_on_how_a_video_is_split(codec: FrameCodec) -> None:
    codes = codec.encode(QUARTERS)
    for size in (1, 7, BATCH):
        parts = [codec.encode(QUARTERS[i : i + size]) for i in range(0, len(QUARTERS), size)]
        np.testing.assert_array_equal(np.concatenate(parts), codes)


def test_pixels_do_not_depend_on_how_codes_are_split(codec: FrameCodec) -> None:
    codes = codec.encode(QUARTERS)
    parts = [codec.decode(codes[i : i + 6], grid=(4, 4)) for i in range(0, len(codes), 6)]
    np.testing.assert_array_equal(np.concatenate(parts), codec.decode(codes, grid=(4, 4)))


def test_frames_of_another_size_have_another_grid(tiny: FrameCodec) -> None:
    frames = moving_disc(3, height=8, width=24)
    codes = tiny.encode(frames)
    assert codes.shape == (3, 4 * 12)
    assert tiny.decode(codes, grid=(4, 12)).shape == frames.shape


def test_a_batch_on_a_cpu_fits_in_its_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    def batch(config: VqganConfig) -> int:
        return FrameCodec(Weights(config, abstract(config)[1], jnp.zeros((1, 1)))).batch

    assert FrameCodec(tiny_weights(), batch=3).batch == 3
    monkeypatch.setattr("jax.default_backend", lambda: "cpu")
    assert [batch(small_128()), batch(lwm_256())] == [8, 1]  # their first activations are 1 and 32 MB a frame
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    assert batch(lwm_256()) == BATCH


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the options are those of XLA on a CPU")
def test_options_that_xla_does_not_know_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    codecs._compiler_options.cache_clear()
    assert codecs._compiler_options("cpu") == codecs._CPU_OPTIONS
    assert codecs._compiler_options("gpu") is None
    monkeypatch.setitem(codecs._CPU_OPTIONS, "xla_cpu_no_such_option", "1")
    codecs._compiler_options.cache_clear()
    assert codecs._compiler_options("cpu") is None
    codecs._compiler_options.cache_clear()


def test_codes_are_in_row_major_order(codec: FrameCodec) -> None:
    frames = np.zeros((1, 64, 128, 3), np.uint8)
    frames[:, :32] = 255  # the upper half
    grid = codec.encode(frames).reshape(4, 8)
    assert set(grid[:2].ravel()).isdisjoint(grid[2:].ravel())


def test_codes_of_a_large_codebook_are_uint32() -> None:
    wide = VqganConfig(
        name="wide", frame_size=2, channels=(4, 4), blocks=1, groups=4, latent_dim=2, codebook_size=70_000
    )
    assert FrameCodec(tiny_weights(wide)).encode(np.zeros((1, 2, 2, 3), np.uint8)).dtype == np.uint32


def test_a_codec_is_loaded_from_a_path(tmp_path: Path, tiny: FrameCodec) -> None:
    path = tmp_path / "mine.safetensors"
    checkpoint.save(path, tiny_weights())
    loaded = FrameCodec.load(str(path))
    assert (loaded.config, loaded.sha256) == (TINY, sha256_file(path))
    frames = moving_disc(2, height=16, width=16)
    np.testing.assert_array_equal(loaded.encode(frames), tiny.encode(frames))


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((1, 16, 17, 3), np.uint8), "width must be a multiple of 2 for 'tiny', got 17"),
        (np.zeros((1, 16, 16, 3), np.float32), r"uint8 \[n, H, W, 3\], got float32 \[1, 16, 16, 3\]"),
        (np.zeros((16, 16, 3), np.uint8), r"got uint8 \[16, 16, 3\]"),
        (np.zeros((1, 3, 16, 16), np.uint8), r"got uint8 \[1, 3, 16, 16\]"),
    ],
)
def test_invalid_frames_are_rejected(tiny: FrameCodec, frames: NDArray[np.uint8], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny.encode(frames)


def test_a_clip_without_frames_is_an_input_error(tiny: FrameCodec) -> None:
    for call, rows in ((tiny.encode, np.zeros((0, 16, 16, 3), np.uint8)), (tiny.decode, np.zeros((0, 64), np.uint16))):
        with pytest.raises(InputError) as e:
            call(rows)
        assert e.value.reason is Reason.EMPTY


def test_codes_of_another_codebook_are_rejected(tiny: FrameCodec) -> None:
    with pytest.raises(VocabularyMismatch, match="codes are between 0 and 32, but the codebook of 'tiny' has 32 codes"):
        tiny.decode(np.arange(64, dtype=np.uint16)[None] // 63 * 32)
    with pytest.raises(ConfigError, match=r"codes must be integers \[n, 64\], got uint16 \[1, 63\]"):
        tiny.decode(np.zeros((1, 63), np.uint16))


_SHARED: list[tuple[FrameCodec, NDArray[np.uint8]]] = []


def _shared() -> tuple[FrameCodec, NDArray[np.uint8]]:
    """Return one codec for all examples: Hypothesis does not reset fixtures between examples."""
    if not _SHARED:
        _SHARED.append((FrameCodec(tiny_weights()), moving_disc(BATCH + 5, height=16, width=16)))
    return _SHARED[0]
