"""The command `import-tokenizer`: a VQGAN's published weights, of any known form, into a file of this project."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from pipeline.runtime.progress import console
from schemas.errors import ConfigError
from schemas.fingerprint import sha256_file
from tokenizer.checkpoints import checkpoint
from tokenizer.config import Lookup


@dataclass(frozen=True, kw_only=True)
class ImportTokenizer:
    """Write published weights of a VQGAN as .safetensors: the model alone, and a header that says what it is.

    Reads LWM's pickle, aMUSEd and diffusers (.safetensors), taming and IBQ (.ckpt), LlamaGen (.pt) and MaskGIT (flax
    msgpack); which of them it is, is told from the file. Nothing in a file is executed.
    """

    weights: Annotated[Positional[Path], arg(metavar="FILE")]
    """The published file."""
    out: Path
    """The .safetensors file to write, for the option `vision` of the other commands."""
    frame_size: int | None = None
    """Pixels on a side that it was trained on, which no file of weights says; 256 by default."""
    lookup: Lookup | None = None
    """How a latent finds its code, where the file's form says it wrongly: an IBQ checkpoint without averaged weights
    looks like taming's, and needs `product`."""
    name: str | None = None
    """What to call it in messages and cards; made of form, factor and codebook by default."""

    def __call__(self, options: tuple[str, ...]) -> None:
        """Read, check every tensor, write, and say what it is."""
        if self.out.suffix != ".safetensors":
            raise ConfigError(f"--out must end in .safetensors, got {self.out}")
        if self.out.exists() and self.out.samefile(self.weights):
            raise ConfigError(f"--out is the file to read itself: {self.out}")
        weights = checkpoint.load(self.weights)
        given = {"frame_size": self.frame_size, "lookup": self.lookup, "name": self.name}
        told: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
        config = dataclasses.replace(weights.config, **told)
        checkpoint.save(self.out, weights._replace(config=config))
        grid = config.grid(config.frame_size, config.frame_size)
        console.print(
            f"import-tokenizer: {config.name}: {config.frame_size} px, {grid[0]}x{grid[1]} codes of "
            f"{config.codebook_size} x {config.latent_dim}, found by {config.lookup}"
        )
        console.print(f"import-tokenizer: {self.out} (sha256 {sha256_file(self.out)})")
