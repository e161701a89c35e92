from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.numpy

from schemas.errors import ConfigError
from schemas.weight_files.stored import Stored
from tests.support.vqgan.checkpoint_formats import amused
from tests.support.vqgan.tiny_vqgan import tiny_weights
from tokenizer.checkpoints import checkpoint
from tokenizer.checkpoints.checkpoint import published_shapes
from tokenizer.checkpoints.infer_config import infer
from tokenizer.checkpoints.published import translate
from tokenizer.config import VqganConfig, lwm_256


def stored(config: VqganConfig) -> dict[str, Stored]:
    """Return the tensors of an architecture by their published names; reading one fails."""
    return {name: Stored(shape, pytest.fail) for name, shape in published_shapes(config).items()}


def test_lwm_256_is_recognized_from_shapes_alone() -> None:
    assert infer(translate(stored(lwm_256()))) == lwm_256()


@pytest.mark.slow
def test_another_architecture_is_inferred_from_shapes() -> None:
    config = VqganConfig(
        name="amused-f4-48",
        frame_size=256,
        channels=(32, 32, 64),
        blocks=1,
        groups=32,
        latent_dim=16,
        codebook_size=48,
        encoder_dim=24,
        decoder_blocks=3,
        attention=(1,),
        mid_attention=True,
    )
    assert infer(translate(stored(config))) == config


@pytest.mark.parametrize("name", ["encoder.conv_out.weight", "quantize.embedding.weight"])
def test_the_error_for_a_missing_tensor_names_it(name: str) -> None:
    tensors = stored(lwm_256())
    del tensors[name]
    with pytest.raises(ConfigError, match=f"{name} is missing: give a complete weights file"):
        infer(translate(tensors))


def test_the_error_for_a_missing_level_names_it(tmp_path: Path) -> None:
    tensors = {name: array for name, array in amused().tree.items() if not name.startswith("encoder.down_blocks.1.")}
    safetensors.numpy.save_file(tensors, tmp_path / "part")
    with pytest.raises(ConfigError, match=r"encoder.down_blocks.1 is missing"):
        checkpoint.load(tmp_path / "part")


def test_channels_that_no_published_format_has_are_rejected(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "tiny", tiny_weights())
    tensors = safetensors.numpy.load_file(tmp_path / "tiny")
    safetensors.numpy.save_file(tensors, tmp_path / "bare")
    with pytest.raises(ConfigError, match=r"channels must be multiples of groups=32, got \[8, 16\]"):
        checkpoint.load(tmp_path / "bare")
