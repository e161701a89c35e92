"""Checkpoints: safetensors with the tensor names and layouts of the published aMUSEd (diffusers) VQGAN.

The path of a parameter is its published name except for the last word: `kernel` and `scale` are called `weight`.
Convolutions are OIHW in the file and HWIO here, matrices are output first; the codebook is
`quantize.embedding.weight`. Files written by this project store their configuration in the header. For other published
formats (`tokenizer/checkpoints/published.py`) it is inferred from names and shapes
(`tokenizer/checkpoints/infer_config.py`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax import nnx
from numpy.typing import NDArray

from schemas.checksums import PLACEHOLDER
from schemas.errors import ConfigError
from schemas.field_types import require_types
from schemas.files import atomic
from schemas.runs.naming import key_words
from schemas.weight_files.stored import Stored
from tokenizer.checkpoints import containers, own_checksum
from tokenizer.checkpoints.infer_config import infer
from tokenizer.checkpoints.published import CODEBOOK as _CODEBOOK
from tokenizer.checkpoints.published import translate
from tokenizer.config import VqganConfig
from tokenizer.vqgan.vqgan import abstract

_LAST_WORD = {"kernel": "weight", "scale": "weight", "bias": "bias"}
_SHOWN = 5  # mismatches listed in a message


class Weights(NamedTuple):
    """The contents of a checkpoint."""

    config: VqganConfig
    params: nnx.State  # of `Vqgan`, float32
    codebook: jax.Array  # [K, D] float32


def published_shapes(config: VqganConfig) -> dict[str, tuple[int, ...]]:
    """Return the name and shape in the file of every tensor of a configuration."""
    shapes = {}
    for path, leaf in jax.tree.leaves_with_path(abstract(config)[1]):
        shape = tuple(leaf.shape)
        shapes[_name(path)] = (*shape[:-3:-1], *shape[:-2])
    shapes[_CODEBOOK] = (config.codebook_size, config.latent_dim)
    return shapes


def save(path: Path, weights: Weights, *, dtype: type[np.floating[Any]] = np.float32) -> None:
    """Write `weights` atomically in `dtype`: float16 halves the file, and loading always returns float32.

    Raises ConfigError if a weight is not finite in `dtype`, StorageError if the file cannot be written.
    """
    tensors = {_name(p): _to_file(np.asarray(leaf)) for p, leaf in jax.tree.leaves_with_path(weights.params)}
    tensors[_CODEBOOK] = np.asarray(weights.codebook)
    with np.errstate(over="ignore"):  # overflow becomes infinity, which is rejected by name below
        tensors = {name: np.ascontiguousarray(tensors[name].astype(dtype)) for name in sorted(tensors)}
    for name, tensor in tensors.items():
        try:
            _check_finite(name, tensor)
        except ConfigError as e:
            raise ConfigError(f"{path}: {e}") from e
    with atomic(path) as temporary:
        safetensors.numpy.save_file(tensors, temporary, metadata=_header_of(weights.config))
        own_checksum.write_checksum(temporary)


def load(path: Path, config: VqganConfig | None = None) -> Weights:
    """Read a checkpoint of any published format.

    `config` defaults to the one in the file's header, or else is inferred from the tensors' names and shapes. Raises
    ConfigError if the file is missing, truncated, damaged or unsupported, would execute code, has tensors that do not
    match the configuration (the first ones are listed), or contains a weight that is not finite.
    """
    contents = containers.read(path)
    try:
        own_checksum.check(path)
        published = translate(contents.tensors)
        config = config or _config_of(contents.header) or infer(published)
        _check_shapes(published.tensors, config)
        # One tensor at a time, converted to float32 immediately, so that the file is not in memory twice.
        params = jax.tree.map_with_path(lambda p, _: _from_file(published.tensors, _name(p)), abstract(config)[1])
        return Weights(config, params, _from_file(published.tensors, _CODEBOOK))
    except ConfigError as e:
        raise ConfigError(f"{path}: {e}") from e


def _name(path: tuple[Any, ...]) -> str:
    """Return the published name of a parameter, given its path in the state of the model."""
    words = key_words(path)
    return ".".join([*words[:-1], _LAST_WORD[words[-1]]])


def _to_file(array: NDArray[Any]) -> NDArray[Any]:
    """Move the output axis of a kernel to the front."""
    return np.einsum({4: "hwio->oihw", 2: "io->oi", 1: "c->c"}[array.ndim], array)


def _from_file(tensors: Mapping[str, Stored], name: str) -> jax.Array:
    array = tensors[name].read()
    _check_finite(name, array)
    if name != _CODEBOOK:
        array = np.einsum({4: "oihw->hwio", 2: "oi->io", 1: "c->c"}[array.ndim], array)
    return jnp.asarray(array.astype(np.float32))  # converted by NumPy: JAX would compile a program for each shape


def _config_of(header: Mapping[str, str]) -> VqganConfig | None:
    """Return the configuration in the header of a file, or None."""
    if "config" not in header:
        return None
    try:
        fields: dict[str, Any] = json.loads(header["config"])
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        plain.pop(own_checksum.KEY, None)
        require_types(VqganConfig, plain)
        return VqganConfig(**plain)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        raise ConfigError(f"`config` in its header cannot be read ({e}): give the configuration") from e


def _header_of(config: VqganConfig) -> dict[str, str]:
    """Return a header with the fields of a configuration that are not defaults."""
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    plain = {f.name: fields[f.name] for f in dataclasses.fields(config) if fields[f.name] != f.default}
    plain[own_checksum.KEY] = PLACEHOLDER.decode()
    # A single entry: safetensors writes several entries in an unspecified order.
    return {"config": json.dumps(plain, sort_keys=True)}


def _mismatches(tensors: Mapping[str, Stored], wanted: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Describe mismatches in the order of the model, then unexpected tensors."""
    found = {name: stored.shape for name, stored in tensors.items()}
    wrong = [
        f"{name} should be {list(shape)} and is {list(found[name]) if name in found else 'missing'}"
        for name, shape in wanted.items()
        if found.get(name) != shape
    ]
    return wrong + [f"{name} {list(shape)} is not part of it" for name, shape in found.items() if name not in wanted]


def _check_shapes(tensors: Mapping[str, Stored], config: VqganConfig) -> None:
    if mismatches := _mismatches(tensors, published_shapes(config)):
        more = f"; and {len(mismatches) - _SHOWN} more" if len(mismatches) > _SHOWN else ""
        raise ConfigError(
            f"it does not fit {config.name!r}: {'; '.join(mismatches[:_SHOWN])}{more}. "
            "Give a complete weights file of a VQGAN, or the configuration that it was trained with"
        )


def _check_finite(name: str, array: NDArray[Any]) -> None:
    if not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise ConfigError(f"{bad} of {array.size} values of {name} are not finite in {array.dtype}")
