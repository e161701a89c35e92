from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import ConfigError
from tests.support.vqgan.tokenizer_training import config
from tokenizer.quantizers.fsq import FsqConfig
from tokenizer.quantizers.registry import Quantizers
from tokenizer.training.crops import CropConfig
from tokenizer.training.discriminator import DiscriminatorConfig


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
def test_an_invalid_option_is_rejected(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**change)


def test_the_model_is_configured_for_the_quantizer() -> None:
    run = config(quantizer="fsq", options=Quantizers(fsq=FsqConfig(levels=(4, 4, 2))))
    assert (run.model.codebook_size, run.model.latent_dim, run.model.lookup) == (32, 3, "bounded")
    assert run.codebook == FsqConfig(levels=(4, 4, 2))
