"""Import published weights of a VQGAN, of any supported format, into a .safetensors file of this project."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from schemas.errors import ConfigError
from tokenizer.checkpoints import checkpoint
from tokenizer.config import Lookup, VqganConfig


def import_weights(
    source: Path, out: Path, *, frame_size: int | None = None, lookup: Lookup | None = None, name: str | None = None
) -> VqganConfig:
    """Read the weights in `source`, check every tensor, write `out`, and return the configuration of the model.

    `frame_size`, `lookup` and `name` override the values in the file. Raises ConfigError for an invalid `out`, and if
    `tokenizer.checkpoints.checkpoint.load` cannot read the file.
    """
    if out.suffix != ".safetensors":
        raise ConfigError(f"--out must end in .safetensors, got {out}")
    if out.exists() and out.samefile(source):
        raise ConfigError(f"--out is the input file: {out}")
    weights = checkpoint.load(source)
    config = weights.config
    config = dataclasses.replace(
        config, frame_size=frame_size or config.frame_size, lookup=lookup or config.lookup, name=name or config.name
    )
    checkpoint.save(out, weights._replace(config=config))
    return config
