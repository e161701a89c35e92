"""Comparisons with torch and diffusers themselves, where the extra `reference` is installed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import ConfigError
from tests.support.vqgan import torch_zip
from tests.support.vqgan.checkpoint_formats import FORMATS, taming
from tokenizer.checkpoints import checkpoint, containers
from tokenizer.codec import FrameCodec

torch = pytest.importorskip("torch", reason="pip install 'longreel[reference]'")


def tensors() -> dict[str, Any]:
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    return {
        "plain": base,
        "permuted": base.permute(2, 0, 1),
        "slice": base[1:, ::2],
        "float16": base.half(),
        "bfloat16": base.bfloat16(),
        "integer": base.long(),
        "parameter": torch.nn.Parameter(base),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 3),
    }


def test_files_written_by_torch_are_read_as_torch_reads_them(tmp_path: Path) -> None:
    made = tensors()
    tree = {"state_dict": made, "args": argparse.Namespace(lr=0.1), "when": [1, 2.5, None, "text", {3}]}
    torch.save(tree, tmp_path / "t")
    read = containers.read(tmp_path / "t").tensors
    assert read.keys() == made.keys()
    for name, tensor in made.items():
        assert read[name].shape == tuple(tensor.shape)
        np.testing.assert_array_equal(read[name].read().astype(np.float32), tensor.detach().float().numpy())


def test_the_state_of_an_optimizer_is_ignored(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "t")
    assert containers.read(tmp_path / "t").tensors.keys() == {"weight", "bias"}


def test_torch_reads_the_files_that_other_tests_write(tmp_path: Path) -> None:
    torch_zip.save(tmp_path / "t", taming().tree)
    for name, tensor in torch.load(tmp_path / "t", weights_only=True).items():
        np.testing.assert_array_equal(tensor.numpy(), taming().tree[name])


def test_the_error_for_a_file_of_an_old_torch_asks_to_save_it_again(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(2)}, tmp_path / "t", _use_new_zipfile_serialization=False)
    with pytest.raises(ConfigError, match="of torch before 1.6"):
        containers.read(tmp_path / "t")


@pytest.mark.parametrize("attention", [False, True])
def test_codes_and_pixels_equal_those_of_diffusers(attention: bool, tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers", reason="pip install 'longreel[reference]'")
    word = "Attn" if attention else ""
    torch.manual_seed(0)
    model = diffusers.VQModel(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D", f"{word}DownEncoderBlock2D"),
        up_block_types=(f"{word}UpDecoderBlock2D", "UpDecoderBlock2D"),
        layers_per_block=1,
        latent_channels=16,
        num_vq_embeddings=48,
        mid_block_add_attention=attention,
    )
    with torch.no_grad():
        model.quantize.embedding.weight.normal_()
        frames = np.random.default_rng(1).integers(0, 256, (2, 8, 12, 3), dtype=np.uint8)
        pixels = torch.tensor(frames.transpose(0, 3, 1, 2)).float() / 127.5 - 1
        quantized, _, (_, _, codes) = model.quantize(model.encode(pixels).latents)
        pictures = model.decode(quantized, force_not_quantize=True).sample.permute(0, 2, 3, 1).numpy()
    model.save_pretrained(tmp_path)
    codec = FrameCodec.load(str(tmp_path / "diffusion_pytorch_model.safetensors"))
    assert codec.config.mid_attention == attention
    np.testing.assert_array_equal(codec.encode(frames), codes.numpy().reshape(2, -1))
    expected = np.clip(pictures * 127.5 + 127.5, 0, 255).round()
    assert np.abs(codec.decode(codec.encode(frames), grid=(4, 6)) - expected).max() <= 1


def test_an_export_loads_into_diffusers(tmp_path: Path) -> None:
    load_file = pytest.importorskip("safetensors.torch").load_file
    diffusers = pytest.importorskip("diffusers", reason="pip install 'longreel[reference]'")
    FORMATS["amused"][1](tmp_path / "a")
    weights = checkpoint.load(tmp_path / "a")
    checkpoint.save(tmp_path / "b.safetensors", weights)
    config = weights.config
    model = diffusers.VQModel(
        block_out_channels=config.channels,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=config.blocks,
        latent_channels=config.latent_dim,
        num_vq_embeddings=config.codebook_size,
        mid_block_add_attention=False,
    )
    model.load_state_dict(load_file(tmp_path / "b.safetensors"))  # strict: the names must be the same
