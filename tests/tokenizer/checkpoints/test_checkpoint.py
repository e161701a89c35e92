from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy

from schemas.errors import ConfigError
from tests.support.vqgan.tiny_vqgan import TINY, tiny_weights
from tokenizer.checkpoints import checkpoint
from tokenizer.checkpoints.checkpoint import Weights, published_shapes
from tokenizer.config import lwm_256, small_128
from tokenizer.vqgan.vqgan import parameter_count

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights() -> Weights:
    return tiny_weights()


@pytest.fixture
def saved(weights: Weights, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    checkpoint.save(path, weights)
    return path


def rewrite(path: Path, **changed: np.ndarray | None) -> None:
    """Replace tensors of a file, or remove them; dots in names are written as two underscores."""
    tensors = safetensors.numpy.load_file(path) | {k.replace("__", "."): v for k, v in changed.items()}
    safetensors.numpy.save_file({k: v for k, v in tensors.items() if v is not None}, path)


def test_lwm_256_has_the_names_and_layouts_of_amused() -> None:
    shapes = published_shapes(lwm_256())
    assert len(shapes) == 277
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == parameter_count(lwm_256())[0]
    assert shapes["encoder.conv_in.weight"] == (128, 3, 3, 3)
    assert shapes["encoder.down_blocks.1.resnets.0.conv_shortcut.weight"] == (256, 128, 1, 1)
    assert shapes["encoder.down_blocks.3.downsamplers.0.conv.bias"] == (512,)
    assert shapes["encoder.mid_block.resnets.1.norm2.weight"] == (768,)
    assert shapes["encoder.conv_out.weight"] == (64, 768, 3, 3)
    assert shapes["decoder.up_blocks.0.resnets.2.conv2.weight"] == (768, 768, 3, 3)  # the lowest resolution
    assert shapes["decoder.up_blocks.4.resnets.0.conv_shortcut.weight"] == (128, 256, 1, 1)
    assert shapes["decoder.conv_norm_out.bias"] == (128,)
    assert shapes["quantize.embedding.weight"] == (8192, 64)
    assert shapes["post_quant_conv.weight"] == (64, 64, 1, 1)
    assert "encoder.down_blocks.4.downsamplers.0.conv.weight" not in shapes
    assert "decoder.up_blocks.4.upsamplers.0.conv.weight" not in shapes


def test_default_fields_add_no_tensors() -> None:
    assert not any("attentions" in name for name in published_shapes(lwm_256()))


def test_loading_restores_what_was_saved(weights: Weights, saved: Path) -> None:
    loaded = checkpoint.load(saved)
    assert loaded.config == TINY
    np.testing.assert_array_equal(loaded.codebook, weights.codebook)
    assert jax.tree.structure(loaded.params) == jax.tree.structure(weights.params)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, weights.params)


def test_convolutions_are_stored_in_the_layout_of_torch(weights: Weights, saved: Path) -> None:
    stored = safetensors.numpy.load_file(saved)["encoder.down_blocks.0.downsamplers.0.conv.weight"]
    kernel = np.asarray(weights.params["encoder"]["down_blocks"][0]["downsamplers"][0]["conv"]["kernel"][...])
    assert stored[5, 2, 0, 1] == kernel[0, 1, 2, 5]
    np.testing.assert_array_equal(stored, kernel.transpose(3, 2, 0, 1))


def test_saving_is_deterministic(weights: Weights, saved: Path) -> None:
    again = saved.with_name("again.safetensors")
    checkpoint.save(again, weights)
    assert again.read_bytes() == saved.read_bytes()


def test_float16_files_are_smaller_and_load_as_float32(weights: Weights, saved: Path) -> None:
    half = saved.with_name("half.safetensors")
    checkpoint.save(half, weights, dtype=np.float16)
    assert half.stat().st_size < 0.7 * saved.stat().st_size
    loaded = checkpoint.load(half)
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded.params)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(loaded.codebook, weights.codebook, rtol=1e-3)


def test_the_architecture_of_a_file_without_a_header_is_recognized_from_its_shapes(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    shapes = published_shapes(small_128())
    safetensors.numpy.save_file({name: np.zeros(shape, np.float16) for name, shape in shapes.items()}, path)
    assert checkpoint.load(path).config == small_128()


def test_the_error_for_another_architecture_names_the_first_tensors_that_do_not_fit(saved: Path) -> None:
    with pytest.raises(ConfigError) as e:
        checkpoint.load(saved, small_128())
    assert "does not fit 'small-128': decoder.conv_in.bias should be [128] and is [16]; " in str(e.value)
    assert "more. " in str(e.value)


def test_the_error_for_an_incomplete_file_names_missing_wrong_and_unknown_tensors(saved: Path) -> None:
    wrong = np.zeros((8, 4, 3, 3), np.float32)
    rewrite(saved, encoder__conv_in__weight=wrong, quant_conv__bias=None, extra=np.zeros(3, np.float32))
    with pytest.raises(ConfigError) as e:
        checkpoint.load(saved, TINY)
    assert "encoder.conv_in.weight should be [8, 3, 3, 3] and is [8, 4, 3, 3]" in str(e.value)
    assert "quant_conv.bias should be [8] and is missing" in str(e.value)
    assert "extra [3] is not part of it" in str(e.value)


def test_the_error_for_a_codebook_of_another_size_gives_both_sizes(saved: Path) -> None:
    rewrite(saved, quantize__embedding__weight=np.zeros((31, 8), np.float32))
    with pytest.raises(ConfigError, match=r"quantize.embedding.weight should be \[32, 8\] and is \[31, 8\]"):
        checkpoint.load(saved, TINY)


def test_the_error_for_weights_that_are_not_finite_names_the_tensor(weights: Weights, saved: Path) -> None:
    bad = np.zeros(8, np.float32)
    bad[3] = np.nan
    rewrite(saved, quant_conv__bias=bad)
    with pytest.raises(ConfigError, match=r"1 of 8 values of quant_conv.bias are not finite"):
        checkpoint.load(saved, TINY)


def test_weights_too_large_for_float16_are_rejected_before_writing(weights: Weights, tmp_path: Path) -> None:
    large = weights._replace(codebook=weights.codebook * 1e6)
    with pytest.raises(ConfigError, match=r"\d+ of 256 values of quantize.embedding.weight are not finite in float16"):
        checkpoint.save(tmp_path / "large.safetensors", large, dtype=np.float16)
    assert not list(tmp_path.iterdir())


def test_a_truncated_file_is_rejected(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(ConfigError, match="is not a complete safetensors file"):
        checkpoint.load(saved)


def test_a_pickle_is_not_executed(tmp_path: Path) -> None:
    path = tmp_path / "evil.safetensors"
    path.write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(ConfigError, match="is not a supported weights file"):
        checkpoint.load(path)


def test_the_error_for_a_missing_file_lists_the_known_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.safetensors does not exist: give a name \(lwm-256, small-128\)"):
        checkpoint.load(tmp_path / "none.safetensors")


def test_an_invalid_header_is_rejected(saved: Path) -> None:
    tensors = safetensors.numpy.load_file(saved)
    safetensors.numpy.save_file(tensors, saved, metadata={"config": json.dumps({"name": "tiny"})})
    with pytest.raises(ConfigError, match="`config` in its header cannot be read"):
        checkpoint.load(saved)
