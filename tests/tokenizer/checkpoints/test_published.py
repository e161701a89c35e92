from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx, serialization

from schemas.errors import ConfigError
from tests.support.vqgan import torch_zip
from tests.support.vqgan.checkpoint_formats import FAST_COMPILE, FORMATS, amused, ibq, llamagen, lwm, maskgit, taming
from tokenizer.checkpoints import checkpoint
from tokenizer.checkpoints.checkpoint import Weights
from tokenizer.codec import FrameCodec
from tokenizer.config import VqganConfig
from tokenizer.quantizers.lookup import find_codes
from tokenizer.vqgan.vqgan import abstract, to_unit

pytestmark = pytest.mark.slow


@partial(jax.jit, static_argnums=0, compiler_options=FAST_COMPILE)
def encode_and_decode(
    config: VqganConfig, params: nnx.State, codebook: jax.Array, frames: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return codes `[B, h * w]` and the pixels decoded from them, not clipped."""
    model = nnx.merge(abstract(config)[0], params)
    latents = model.latents(to_unit(frames))
    codes = find_codes(latents.reshape(-1, latents.shape[-1]), codebook, lookup=config.lookup)
    return codes.reshape(len(frames), -1), model.pixels(codebook[codes].reshape(latents.shape))


def assert_equal(a: Weights, b: Weights) -> None:
    np.testing.assert_array_equal(a.codebook, b.codebook)
    jax.tree.map(np.testing.assert_array_equal, a.params, b.params)


@pytest.mark.parametrize("form", FORMATS)
def test_every_published_format_gives_the_codes_and_pixels_of_an_independent_model(form: str, tmp_path: Path) -> None:
    make, write, fields = FORMATS[form]
    path = tmp_path / "weights.bin"  # the format is not recognized by the name
    write(path)
    weights = checkpoint.load(path)
    assert {field: getattr(weights.config, field) for field in fields} == fields
    expected = make()
    codes, pixels = encode_and_decode(weights.config, weights.params, weights.codebook, expected.frames)
    assert len(np.unique(expected.codes)) > 8
    np.testing.assert_array_equal(codes, expected.codes)
    assert float(np.std(expected.pixels)) > 0.1
    np.testing.assert_allclose(pixels, expected.pixels, atol=1e-4)


def test_the_codec_uses_the_lookup_rule_of_the_format(tmp_path: Path) -> None:
    FORMATS["llamagen"][1](tmp_path / "published")
    codec = FrameCodec.load(str(tmp_path / "published"))
    expected = llamagen()
    np.testing.assert_array_equal(codec.encode(expected.frames), expected.codes)
    pictures = np.clip(expected.pixels * 127.5 + 127.5, 0, 255).round()
    assert np.abs(codec.decode(codec.encode(expected.frames), grid=(4, 6)) - pictures).max() <= 1


@pytest.mark.parametrize("form", FORMATS)
def test_an_exported_file_loads_as_the_same_weights(form: str, tmp_path: Path) -> None:
    FORMATS[form][1](tmp_path / "published")
    weights = checkpoint.load(tmp_path / "published")
    checkpoint.save(tmp_path / "a.safetensors", weights)
    again = checkpoint.load(tmp_path / "a.safetensors")
    assert again.config == weights.config
    assert_equal(again, weights)
    checkpoint.save(tmp_path / "b.safetensors", again)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_an_export_of_diffusers_weights_has_the_names_and_values_of_its_source(tmp_path: Path) -> None:
    make, write, _ = FORMATS["diffusers"]
    write(tmp_path / "a.safetensors")
    checkpoint.save(tmp_path / "b.safetensors", checkpoint.load(tmp_path / "a.safetensors"))
    exported = safetensors.numpy.load_file(tmp_path / "b.safetensors")
    assert exported.keys() == make().tree.keys()
    for name, array in make().tree.items():
        np.testing.assert_array_equal(exported[name], array)


def nested(tree: Any, leaf: Any) -> Any:
    return {key: nested(value, leaf) for key, value in tree.items()} if isinstance(tree, dict) else leaf(tree)


@pytest.mark.parametrize(
    ("how", "protocol"),
    [("numpy", 2), ("numpy", 5), ("fortran", 4), ("jax", 4), ("frozen", 4), ("in params", 3)],
)
def test_lwm_weights_load_from_every_kind_of_pickled_dictionary(how: str, protocol: int, tmp_path: Path) -> None:
    tree = lwm().tree
    changed = {
        "numpy": tree,
        "fortran": nested(tree, np.asfortranarray),
        "jax": nested(tree, jnp.asarray),
        "frozen": flax.core.freeze(nested(tree, jnp.asarray)),
        "in params": {"params": tree},
    }[how]
    FORMATS["lwm"][1](tmp_path / "usual")
    (tmp_path / "other").write_bytes(pickle.dumps(changed, protocol))
    assert_equal(checkpoint.load(tmp_path / "other"), checkpoint.load(tmp_path / "usual"))


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
def test_16_bit_weights_load_as_float32(dtype: Any, tmp_path: Path) -> None:
    half = {name: array.astype(dtype) for name, array in amused().tree.items()}
    safetensors.numpy.save_file(half, tmp_path / "safetensors")
    torch_zip.save(tmp_path / "torch", half)
    (tmp_path / "pickle").write_bytes(pickle.dumps(half, 4))
    for kind in ("safetensors", "torch", "pickle"):
        loaded = checkpoint.load(tmp_path / kind)
        np.testing.assert_array_equal(loaded.codebook, half["quantize.embedding.weight"].astype(np.float32))
        assert loaded.codebook.dtype == np.float32


def test_old_names_of_attention_tensors_in_diffusers_are_recognized(tmp_path: Path) -> None:
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    FORMATS["diffusers"][1](tmp_path / "new")
    tensors = {}
    for name, array in safetensors.numpy.load_file(tmp_path / "new").items():
        for new, before in old.items():
            name = name.replace(f".{new}.", f".{before}.")
        tensors[name] = array
    safetensors.numpy.save_file(tensors, tmp_path / "old")
    assert_equal(checkpoint.load(tmp_path / "old"), checkpoint.load(tmp_path / "new"))


def test_averaged_weights_are_preferred_to_the_last_ones(tmp_path: Path) -> None:
    averaged, last = llamagen().tree, {name: array + 1 for name, array in llamagen().tree.items()}
    torch_zip.save(tmp_path / "both", {"model": last, "ema": averaged})
    FORMATS["llamagen"][1](tmp_path / "one")
    assert_equal(checkpoint.load(tmp_path / "both"), checkpoint.load(tmp_path / "one"))


def test_a_missing_averaged_weight_is_not_replaced_by_the_last_one(tmp_path: Path) -> None:
    state = dict(ibq().tree)
    state |= {"model_ema." + name.replace(".", ""): array for name, array in ibq().tree.items()}
    del state["model_ema.quant_convbias"]
    torch_zip.save(tmp_path / "ibq", {"state_dict": state})
    with pytest.raises(ConfigError, match=r"quant_conv.bias should be \[16\] and is missing"):
        checkpoint.load(tmp_path / "ibq")


def test_the_error_for_an_incomplete_file_names_missing_wrong_and_unknown_tensors(tmp_path: Path) -> None:
    state = taming().tree | {
        "encoder.mid.attn_1.q.weight": np.zeros((64, 32, 1, 1), np.float32),
        "decoder.extra.weight": np.zeros(3, np.float32),
    }
    del state["decoder.up.1.block.0.conv2.bias"]
    torch_zip.save(tmp_path / "part", {"state_dict": state})
    with pytest.raises(ConfigError) as e:
        checkpoint.load(tmp_path / "part")
    assert "does not fit 'taming-f4-48'" in str(e.value)
    assert "encoder.mid_block.attentions.0.to_q.weight should be [64, 64] and is [64, 32]" in str(e.value)
    assert "decoder.up_blocks.1.resnets.0.conv2.bias should be [32] and is missing" in str(e.value)
    assert "decoder.extra.weight [3] is not part of it" in str(e.value)


def test_a_maskgit_with_strided_convolutions_is_rejected(tmp_path: Path) -> None:
    tree = jax.tree.map(np.asarray, maskgit().tree)
    encoder = dict(tree["encoder"])
    encoder["Conv_3"] = encoder.pop("Conv_1")
    for i, channels in ((1, 32), (2, 32)):
        encoder[f"Conv_{i}"] = {"kernel": np.zeros((4, 4, channels, channels), np.float32)}
    (tmp_path / "m").write_bytes(serialization.to_bytes({"params": tree | {"encoder": encoder}}))
    with pytest.raises(ConfigError, match="does not fit"):
        checkpoint.load(tmp_path / "m")


def test_the_error_for_another_kind_of_model_lists_its_first_tensors(tmp_path: Path) -> None:
    torch_zip.save(tmp_path / "other", {"layers.0.weight": np.zeros((3, 2), np.float32)})
    with pytest.raises(ConfigError, match=r"to no known VQGAN format \(layers.0.weight \[3, 2\]\)"):
        checkpoint.load(tmp_path / "other")
