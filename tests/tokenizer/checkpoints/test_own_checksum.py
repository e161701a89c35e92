from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.numpy

from schemas.errors import ConfigError
from tests.support.bit_flips import flips
from tests.support.vqgan.tiny_vqgan import TINY, tiny_weights
from tokenizer.checkpoints import checkpoint, own_checksum

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    checkpoint.save(path, tiny_weights())
    return path


def test_flipped_bits_of_weights_and_header_are_found(saved: Path, tmp_path: Path) -> None:
    whole = saved.read_bytes()
    header = tmp_path / "tiny.safetensors"
    header.write_bytes(whole)
    for _ in flips(header, 20):
        with pytest.raises(ConfigError, match=r"tiny\.safetensors"):
            checkpoint.load(header)
    start = whole.index(b"config")
    for bit in range(8 * start, 8 * (whole.index(b"}}", start) + 2), 37):
        header.write_bytes(whole[: bit // 8] + bytes([whole[bit // 8] ^ 1 << bit % 8]) + whole[bit // 8 + 1 :])
        with pytest.raises(ConfigError, match=r"tiny\.safetensors"):
            checkpoint.load(header)


def test_weights_of_others_have_no_checksum(saved: Path, tmp_path: Path) -> None:
    own_checksum.check(saved)
    safetensors.numpy.save_file(safetensors.numpy.load_file(saved), tmp_path / "plain.safetensors")
    own_checksum.check(tmp_path / "plain.safetensors")
    with pytest.raises(ValueError, match="no place for a checksum"):
        own_checksum.write_checksum(tmp_path / "plain.safetensors")


@pytest.mark.parametrize("change", [{"channels": "16"}, {"blocks": "1"}, {"lookup": "other"}, {"channels": [1.5]}])
def test_a_configuration_with_a_value_of_another_type_is_rejected(
    saved: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    fields = {"name": "x", "frame_size": 32, "channels": [8], "blocks": 1, "groups": 2, "latent_dim": 4} | change
    header = {"config": json.dumps(fields | {"codebook_size": TINY.codebook_size})}
    safetensors.numpy.save_file(safetensors.numpy.load_file(saved), tmp_path / "x.safetensors", metadata=header)
    with pytest.raises(ConfigError, match=rf"x\.safetensors: .*{next(iter(change))}"):
        checkpoint.load(tmp_path / "x.safetensors")
