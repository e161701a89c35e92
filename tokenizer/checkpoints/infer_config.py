"""Infers a VQGAN's configuration from the names and shapes of its tensors.

Three properties cannot be inferred from shapes: the number of groups of the norms (32 in every published format), the
size of the training frames (256 pixels is assumed), and the differences between formats
(`tokenizer/checkpoints/published.py`). Files written by this project store all of them in the header.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from schemas.errors import ConfigError
from schemas.weight_files.stored import Stored
from tokenizer.checkpoints.published import CODEBOOK, Published
from tokenizer.config import CONFIGS, VqganConfig

_GROUPS = 32
_FRAME_SIZE = 256
_BLOCK = re.compile(r"(encoder\.down|decoder\.up)_blocks\.(\d{1,2})\.resnets\.(\d{1,2})\.conv1\.weight$")
_ATTENTION = re.compile(r"encoder\.down_blocks\.(\d{1,2})\.attentions\.")


def infer(published: Published) -> VqganConfig:
    """Return a named configuration with these shapes, or else a new one derived from them.

    It may not match every tensor: the caller compares all shapes. Raises ConfigError if required tensors are missing.
    """
    tensors, hints = published.tensors, published.hints
    channels, blocks, decoder_blocks = _levels(tensors)
    codebook_size, latent_dim = _shape(tensors, CODEBOOK, dims=2)
    encoder_dim = _shape(tensors, "encoder.conv_out.weight", dims=4)[0]
    attention = {int(m[1]) for name in tensors if (m := _ATTENTION.match(name))}
    fields: dict[str, Any] = dict(
        channels=channels,
        blocks=blocks,
        latent_dim=latent_dim,
        codebook_size=codebook_size,
        encoder_dim=None if encoder_dim == latent_dim else encoder_dim,
        decoder_blocks=None if decoder_blocks == blocks + 1 else decoder_blocks,
        attention=tuple(sorted(attention)),
        mid_attention=any(".mid_block.attentions." in name for name in tensors),
        downsample="conv" if len(channels) == 1 or any(".downsamplers." in name for name in tensors) else "average",
        **hints,
    )
    for named in (make() for make in CONFIGS.values()):
        if all(getattr(named, field) == value for field, value in fields.items()):
            return named
    factor = 1 << (len(channels) - 1)
    name = f"{published.form}-f{factor}-{codebook_size}"
    return VqganConfig(name=name, frame_size=max(_FRAME_SIZE, factor), groups=_GROUPS, **fields)


def _levels(tensors: Mapping[str, Stored]) -> tuple[tuple[int, ...], int, int]:
    """Return the channels of each level, and the blocks per level of encoder and decoder."""
    found: dict[str, dict[int, list[tuple[int, int]]]] = {"encoder.down": {}, "decoder.up": {}}
    for name, stored in tensors.items():
        if (m := _BLOCK.match(name)) and len(stored.shape) == 4:
            found[m[1]].setdefault(int(m[2]), []).append((int(m[3]), stored.shape[0]))
    encoder, decoder = found["encoder.down"], found["decoder.up"]
    levels = 1 + max((*encoder, *decoder), default=0)
    for half, there in (("encoder.down", encoder), ("decoder.up", decoder)):
        if missing := sorted(set(range(levels)) - set(there)):
            raise ConfigError(f"{half}_blocks.{missing[0]} is missing: give a complete weights file of a VQGAN")
    channels = tuple(encoder[level][0][1] for level in range(levels))
    counts = [1 + max(index for level in half.values() for index, _ in level) for half in (encoder, decoder)]
    return channels, counts[0], counts[1]


def _shape(tensors: Mapping[str, Stored], name: str, *, dims: int) -> tuple[int, ...]:
    if name not in tensors:
        raise ConfigError(f"{name} is missing: give a complete weights file of a VQGAN")
    if len(shape := tensors[name].shape) != dims:
        raise ConfigError(f"{name} must have {dims} dimensions, got shape {list(shape)}")
    return shape
